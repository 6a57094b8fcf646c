"""Images as points: flat, in [0, 1], asked about in float32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench_suites.adversarial.blackbox.books import Answer, Floats, Ints
from crucibench_suites.adversarial.threat import Norm, check_norm


class Pixels:
    """The box of all images.

    Attributes:
        clean: float64, shape (n, d).
        low: 0.
        high: 1.
    """

    def __init__(self, x: torch.Tensor, norm: Norm) -> None:
        check_norm(norm)
        self.shape = tuple(x.shape[1:])
        self.clean: Floats = x.detach().cpu().double().flatten(1).numpy()
        self.low, self.high = np.zeros_like(self.clean), np.ones_like(self.clean)
        self._norm = norm

    def allowed(self, rows: Ints, points: Floats) -> Floats:
        """Returns what float32 holds of the points."""
        return np.clip(points, 0.0, 1.0).astype(np.float32).astype(np.float64)

    def distance(self, rows: Ints, points: Floats) -> Floats:
        """Returns the norm of the change, (k,)."""
        moved = points - self.clean[rows]
        if self._norm == "linf":
            return np.asarray(np.abs(moved).max(axis=1))
        return np.asarray(np.linalg.norm(moved, axis=1))

    def images(self, points: Floats) -> torch.Tensor:
        """Returns points as float32 images, (k, C, H, W)."""
        return torch.from_numpy(points.astype(np.float32)).view(-1, *self.shape)

    def answered(
        self, lead: Callable[[Ints, torch.Tensor], NDArray[np.float64]], many: int
    ) -> Answer:
        """Returns an answer made of `lead`, which gets rows and images, `many` at once at most."""

        def answer(rows: Ints, points: Floats) -> Floats:
            found = [
                lead(rows[at : at + many], self.images(points[at : at + many]))
                for at in range(0, len(rows), many)
            ]
            return np.concatenate(found)

        return answer
