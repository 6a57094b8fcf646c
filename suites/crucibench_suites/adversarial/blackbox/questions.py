"""Questions about points near samples, counted against a budget; and how searches begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats, Ints, Norm, Space
from crucibench.util.draws import Draws

_TRIES = 100
_SEARCHES = 40

Answer = Callable[[Ints, Floats], Floats]
"""From rows (k,) and points (k, d), as they are allowed, to how far the best wrong class leads over
the true one, (k,): above 0 where the model is wrong. Of labels alone 1 and -1."""


class BudgetedQuestions:
    """Asks within a budget about each of n samples, and keeps the nearest example of each.

    Attributes:
        space: where points may lie.
        queries: questions asked about each sample, shape (n,).
        best: the nearest point that the model gets wrong, shape (n, d); the sample without one.
        distance: of it, shape (n,); infinity without one.
        first: the distance of the first point that the model got wrong.
        queries_to: how many questions it took to come within each radius, shape (n, radii); NaN
            where none did.
    """

    def __init__(self, space: Space, answer: Answer, radii: Floats, budget: int) -> None:
        """Makes it.

        Args:
            space: where points may lie.
            answer: the model.
            radii: ascending, above 0; a sample is left alone once it is broken within the first.
            budget: questions about each sample at most.
        """
        n = len(space.clean)
        self.space, self._answer, self._radii, self._budget = space, answer, radii, budget
        self.queries = np.zeros(n, dtype=np.int64)
        self.best = space.clean.copy()
        self.distance = np.full(n, np.inf)
        self.first = np.full(n, np.nan)
        self.queries_to = np.full((n, len(radii)), np.nan)

    @property
    def left(self) -> NDArray[np.bool_]:
        """Whether there is something to ask about each sample: budget, and a radius to reach."""
        open_ = self.queries < self._budget
        return open_ & np.isnan(self.queries_to[:, 0]) if len(self._radii) else open_

    def lead(self, rows: Ints, points: Floats) -> Floats:
        """Returns how far wrong classes lead, (k,); -infinity for what the budget leaves out.

        Args:
            rows: which samples the points are of, shape (k,); a sample may be there repeatedly.
            points: shape (k, d).
        """
        order = _place_among_equals(rows)
        number = self.queries[rows] + order + 1
        paid = number <= self._budget
        found = np.full(len(rows), -np.inf)
        if not paid.any():
            return found
        rows, number = rows[paid], number[paid]
        allowed = self.space.allowed(rows, points[paid])
        found[paid] = self._answer(rows, allowed)
        np.maximum.at(self.queries, rows, number)
        wrong = found[paid] > 0
        if wrong.any():
            self._note(rows[wrong], allowed[wrong], number[wrong])
        return found

    def _note(self, rows: Ints, points: Floats, number: Ints) -> None:
        distance = self.space.distance(rows, points)
        new, where = np.unique(rows, return_index=True)
        unknown = np.isnan(self.first[new])
        self.first[new[unknown]] = distance[where[unknown]]
        for at, radius in enumerate(self._radii):
            within = distance <= radius
            least = np.full(len(self.queries), np.inf)
            np.minimum.at(least, rows[within], number[within])
            known = self.queries_to[:, at]
            self.queries_to[:, at] = np.where(np.isnan(known) & np.isfinite(least), least, known)
        # The nearest of each sample: of sorted ones the first.
        order = np.lexsort((number, distance, rows))
        rows, points, distance = rows[order], points[order], distance[order]
        rows, where = np.unique(rows, return_index=True)
        nearer = distance[where] < self.distance[rows]
        self.best[rows[nearer]] = points[where[nearer]]
        self.distance[rows[nearer]] = distance[where[nearer]]


def _place_among_equals(rows: Ints) -> Ints:
    """Returns how often each entry has been there before it."""
    order = np.argsort(rows, kind="stable")
    ranked = rows[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    place = np.arange(len(rows)) - np.repeat(starts, np.diff(np.r_[starts, len(rows)]))
    found = np.empty(len(rows), dtype=np.int64)
    found[order] = place
    return found


def start(questions: BudgetedQuestions, ids: Sequence[str], draws: Draws, name: str) -> Floats:
    """Draws points anywhere in the box until the model gets one wrong; returns them, (n, d).

    A sample without one keeps itself. At most 100 are drawn for each.
    """
    space = questions.space
    found = space.clean.copy()
    for draw in range(_TRIES):
        rows = np.flatnonzero(~np.isfinite(questions.distance) & questions.left)
        if not len(rows):
            break
        shape = (space.clean.shape[1],)
        share = draws.uniform([ids[int(row)] for row in rows], f"{name}/start/{draw}", shape)
        low, high = space.low[rows], space.high[rows]
        points = low + (high - low) * share.astype(np.float64)
        wrong = questions.lead(rows, points) > 0
        found[rows[wrong]] = points[wrong]
    return found


def towards(
    questions: BudgetedQuestions, rows: Ints, x: Floats, norm: Norm, tolerance: float
) -> Floats:
    """Returns wrong points near the boundary, on the way from `x` (m, d) to the samples.

    In L2 the way is straight; in Linf all coordinates come within one distance at once.
    """
    clean = questions.space.clean[rows]
    moved = x - clean
    far = np.abs(moved).max(axis=1) if norm == "linf" else np.ones(len(rows))
    low, high = np.zeros(len(rows)), np.maximum(far, 1e-12)
    enough = high * tolerance

    def there(at: Ints, share: Floats) -> Floats:
        if norm == "linf":
            return np.clip(moved[at], -share[:, None], share[:, None]) + clean[at]
        return moved[at] * share[:, None] + clean[at]

    for _ in range(_SEARCHES):
        at = np.flatnonzero((high - low > enough) & questions.left[rows])
        if not len(at):
            break
        middle = (low[at] + high[at]) / 2
        wrong = questions.lead(rows[at], there(at, middle)) > 0
        high[at[wrong]] = middle[wrong]
        low[at[~wrong]] = middle[~wrong]
    return there(np.arange(len(rows)), high)
