"""What an attack without gradients asks, counted: budgets, nearest examples, queries to each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Answer = Callable[[Ints, Floats], Floats]
"""From rows (k,) and points (k, d), as they are allowed, to how far the best wrong class leads over
the true one, (k,): above 0 where the model is wrong. Of labels alone 1 and -1."""


class Ground(Protocol):
    """Where points may lie.

    Attributes:
        clean: the samples, shape (n, d).
        low: the least coordinates, shape (n, d); what may not move lies between itself and itself.
        high: the greatest.
    """

    clean: Floats
    low: Floats
    high: Floats

    def allowed(self, rows: Ints, points: Floats) -> Floats:
        """Returns the points (k, d) as the model may be asked about them."""

    def distance(self, rows: Ints, points: Floats) -> Floats:
        """Returns how far allowed points are from their samples, (k,)."""


class Books:
    """Asks, and keeps account of n samples.

    Attributes:
        ground: where points may lie.
        queries: questions asked about each sample, shape (n,).
        best: the nearest point that the model gets wrong, shape (n, d); the sample without one.
        distance: of it, shape (n,); infinity without one.
        first: the distance of the first point that the model got wrong.
        queries_to: how many questions it took to come within each radius, shape (n, radii); NaN
            where none did.
    """

    def __init__(self, ground: Ground, answer: Answer, radii: Floats, budget: int) -> None:
        """Opens them.

        Args:
            ground: where points may lie.
            answer: the model.
            radii: ascending, above 0; a sample is left alone once it is broken within the first.
            budget: questions about each sample at most.
        """
        n = len(ground.clean)
        self.ground, self._answer, self._radii, self._budget = ground, answer, radii, budget
        self.queries = np.zeros(n, dtype=np.int64)
        self.best = ground.clean.copy()
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
        allowed = self.ground.allowed(rows, points[paid])
        found[paid] = self._answer(rows, allowed)
        np.maximum.at(self.queries, rows, number)
        wrong = found[paid] > 0
        if wrong.any():
            self._note(rows[wrong], allowed[wrong], number[wrong])
        return found

    def _note(self, rows: Ints, points: Floats, number: Ints) -> None:
        distance = self.ground.distance(rows, points)
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
