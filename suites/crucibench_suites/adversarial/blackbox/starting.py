"""How attacks on labels begin: a point that is wrong, and the way from there to the boundary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.threat import Norm

_TRIES = 100
_SEARCHES = 40


def start(books: Books, ids: Sequence[str], draws: Draws, name: str) -> Floats:
    """Draws points anywhere in the box until the model gets one wrong; returns them, (n, d).

    A sample without one keeps itself. At most 100 are drawn for each.
    """
    ground = books.ground
    found = ground.clean.copy()
    for draw in range(_TRIES):
        rows = np.flatnonzero(~np.isfinite(books.distance) & books.left)
        if not len(rows):
            break
        shape = (ground.clean.shape[1],)
        share = draws.uniform([ids[int(row)] for row in rows], f"{name}/start/{draw}", shape)
        low, high = ground.low[rows], ground.high[rows]
        points = low + (high - low) * share.astype(np.float64)
        wrong = books.lead(rows, points) > 0
        found[rows[wrong]] = points[wrong]
    return found


def towards(books: Books, rows: Ints, x: Floats, norm: Norm, tolerance: float) -> Floats:
    """Returns wrong points near the boundary, on the way from `x` (m, d) to the samples.

    In L2 the way is straight; in Linf all coordinates come within one distance at once.
    """
    clean = books.ground.clean[rows]
    moved = x - clean
    far = np.abs(moved).max(axis=1) if norm == "linf" else np.ones(len(rows))
    low, high = np.zeros(len(rows)), np.maximum(far, 1e-12)
    enough = high * tolerance

    def there(at: Ints, share: Floats) -> Floats:
        if norm == "linf":
            return np.clip(moved[at], -share[:, None], share[:, None]) + clean[at]
        return moved[at] * share[:, None] + clean[at]

    for _ in range(_SEARCHES):
        at = np.flatnonzero((high - low > enough) & books.left[rows])
        if not len(at):
            break
        middle = (low[at] + high[at]) / 2
        wrong = books.lead(rows[at], there(at, middle)) > 0
        high[at[wrong]] = middle[wrong]
        low[at[~wrong]] = middle[~wrong]
    return there(np.arange(len(rows)), high)
