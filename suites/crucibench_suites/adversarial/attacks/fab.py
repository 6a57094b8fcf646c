"""FAB-T, the targeted fast adaptive boundary attack (Croce and Hein 2020), for Linf, L2
and L1.

It looks for the nearest example, whatever eps: linearise the difference of two logits, step onto
its zero from the current point and from the original one, go between the two, and pull back
towards the original once the class has changed. Parameters as in AutoAttack: alpha_max 0.1, eta
1.05, beta 0.9, one run a target, from the point itself. A point leaves as soon as its example lies
within ``points.eps``: that is as near as anyone asks for.
"""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import hardshrink

from crucibench.contracts.attack import Norm
from crucibench_suites.adversarial.attacks.losses import margin
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    by_sample,
    chosen,
    length,
    pairs,
    runners_up,
    steepest_first,
)

ALPHA_MAX = 0.1
ETA = 1.05
BETA = 0.9


def fab_targeted(oracle: ModuleOracle, points: ImagePoints, *, steps: int, targets: int) -> Found:
    """Looks for the nearest example towards each of the `targets` likeliest other classes.

    What it returns as an example may be further away than ``points.eps``.
    """
    found = Found(points)
    nearest = torch.full_like(points.eps, torch.inf)
    others = runners_up(oracle, points, found)[:, :targets]
    everyone = torch.arange(len(points), device=points.x.device)

    def far(rows: torch.Tensor) -> torch.Tensor:
        return nearest[rows] > points.eps[rows]

    for rows, ranks in pairs(everyone, others.shape[1], oracle.width, far):
        aim = others[rows, ranks]
        _run(oracle, points, rows, aim, nearest=nearest, found=found, steps=steps)
    return found


def _run(
    oracle: ModuleOracle,
    points: ImagePoints,
    rows: torch.Tensor,
    aim: torch.Tensor,
    *,
    nearest: torch.Tensor,
    found: Found,
    steps: int,
) -> None:
    """Takes the steps of runs that begin at the points at `rows`, each towards its own class."""
    norm = points.norm
    origin, y = points.x[rows], points.y[rows]
    x = origin
    forwards = backwards = 0
    for _ in range(steps):
        # Normals (m, d) of target - true logit, and what is to be gained from both ends.
        _, lead, gradient = oracle.gradient(x, partial(margin, y=y, target=aim))
        backwards += 1
        w = gradient.flatten(1)
        gaps = torch.stack((-lead, (w * (x - origin).flatten(1)).sum(1) - lead))
        ends = torch.stack((x, origin)).flatten(2)
        here, there = onto_hyperplane(ends, w, gaps, norm).view(2, *x.shape)
        size, other = length(here, norm).clamp(min=1e-8), length(there, norm).clamp(min=1e-8)
        alpha = by_sample((size / (size + other)).clamp(max=ALPHA_MAX))
        ahead, back = torch.add(x, here, alpha=ETA), torch.add(origin, there, alpha=ETA)
        x = torch.lerp(ahead, back, alpha).clamp_(0, 1)
        fooled = oracle.logits(x).argmax(1) != y
        forwards += 2
        if not bool(fooled.any()):
            continue
        distance = torch.where(fooled, length(x - origin, norm), torch.inf)
        before = nearest[rows]
        nearest.scatter_reduce_(0, rows, distance, "amin")
        after = nearest[rows]
        better = (distance < before) & (distance == after)
        found.put(rows[better], x[better])
        x = chosen(by_sample(fooled), origin + (x - origin) * BETA, x)
        near = after <= points.eps[rows]
        if bool(near.any()):
            found.cost(rows[near], forwards=forwards, backwards=backwards)
            left = ~near
            rows, x, origin, y, aim = rows[left], x[left], origin[left], y[left], aim[left]
            if not len(rows):
                return
    found.cost(rows, forwards=forwards, backwards=backwards)


_TINY = 1e-8
"""Relative to the steepest pixel: what is flatter does not move."""

_ROUNDING, _NEVER = 1e-6, 1e30


def onto_hyperplane(
    x: torch.Tensor, w: torch.Tensor, gap: torch.Tensor, norm: Norm
) -> torch.Tensor:
    """Returns the step d of least norm with w.d = gap and 0 <= x + d <= 1.

    Where no point of the box lies on the hyperplane, the step goes as far as the box allows.

    Args:
        x: points in the box, shape (..., m, d).
        w: normals, shape (m, d).
        gap: b - w.x, shape (..., m).
        norm: which norm is least.
    """
    # In units of the steepest pixel, so that the scale of logits makes no pixel flat.
    size = w.abs().amax(1, keepdim=True).clamp_(min=1e-30)
    w, need = hardshrink(w / size, _TINY), (gap / size[:, 0]).abs()
    direction, steep = w.sign() * gap.sign()[..., None], w.abs()
    room = torch.addcmul((direction + 1) / 2, direction, x, value=-1)  # 1 - x up, x down
    gain = steep * room
    if norm == "l1":
        return direction * room * steepest_first(steep, gain, need)
    times = room if norm == "linf" else room / steep.clamp(min=_TINY)
    rate = steep if norm == "linf" else steep * steep
    # What is gained by a time t, when a pixel has gone t (in L2 t times as far as it is steep) or
    # as far as the box lets it, is concave in t: Newton's steps from 0 come to the root from below,
    # each past at least one more of the times at which a pixel meets the box. No sort is needed.
    left, t = need - gain.sum(-1), torch.zeros_like(need)
    for _ in range(x.shape[-1] + 1):
        moving = (times - t[..., None]).sign_().clamp_(min=0)
        slope = (rate * moving).sum(-1)
        further = (left + moving.mul_(gain).sum(-1)) / slope.clamp(min=1e-30)
        further = torch.where(slope > 0, further, _NEVER)
        if not bool((further > t * (1 + _ROUNDING)).any()):
            break
        t = torch.maximum(t, further)
    went = t[..., None] if norm == "linf" else t[..., None] * steep
    return direction.mul_(torch.minimum(went, room))
