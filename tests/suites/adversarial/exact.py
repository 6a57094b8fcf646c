"""Minimal distances of linear models in closed form, in float64, by means of its own."""

from __future__ import annotations

import numpy as np
from scipy.optimize import brentq, linprog


def distances(
    weight: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, norm: str, *, boxed: bool
) -> np.ndarray:
    """Returns the distance of each x (n, d) to the nearest other class; inf if none in the box."""
    return np.array(
        [
            min(
                _to(weight[k] - weight[own], bias[k] - bias[own], one, norm, boxed)
                for k in range(len(weight))
                if k != own
            )
            for one, own in zip(x.astype(np.float64), y, strict=True)
        ]
    )


def _to(w: np.ndarray, b: float, x: np.ndarray, norm: str, boxed: bool) -> float:
    gap = -(w @ x + b)
    if gap <= 0:
        return 0.0
    if not boxed:
        return float(gap / np.linalg.norm(w, ord={"linf": 1, "l2": 2, "l1": np.inf}[norm]))
    room = np.where(w > 0, 1 - x, x)
    if np.abs(w) @ room <= gap:
        return float("inf")
    if norm == "l1":  # how far each pixel goes up, and down
        room = np.stack([np.zeros(2 * len(w)), np.r_[1 - x, x]], 1)
        return float(linprog(np.ones(2 * len(w)), A_eq=[np.r_[w, -w]], b_eq=[gap], bounds=room).fun)
    speed = np.ones_like(w) if norm == "linf" else np.abs(w)

    def short(t: float) -> float:
        return float(np.abs(w) @ np.minimum(t * speed, room) - gap)

    slow = speed[speed > 0].min()  # by then every pixel is at the edge
    t = brentq(short, 0.0, 1.0 / slow + 1.0, xtol=1e-14)
    moved = np.minimum(t * speed, room)
    return float(moved.max() if norm == "linf" else np.linalg.norm(moved))
