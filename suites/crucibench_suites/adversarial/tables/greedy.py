"""A greedy search with random restarts: column by column, what brings the model nearest to wrong.

Within a radius a search begins at the row itself, later ones at random rows of the ball. Of the
ends of each column's range, two random values between them, the row's own value and every other
category it takes what raises the lead of a wrong class most, or all that helps at once if that is
better, until the model is wrong or nothing helps. What is found is drawn back towards the row, as a
whole and then column by column, and the search goes on within the next smaller radius.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats, Ints, Search
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions, towards
from crucibench_suites.adversarial.tables.space import INWARDS, RowSpace

_STARTS = 10
"""Searches in a row that may fail within a radius before a sample is let go."""
_TOLERANCE = 0.02
_OVER = 1e-12


def greedy(given: Search) -> None:
    """Searches until each row's budget, its radii or its starts are used up."""
    questions, ids, draws, radii = given.questions, given.ids, given.draws, given.radii
    space: RowSpace = questions.space
    n = len(space)
    failed, at = np.zeros(n, dtype=np.int64), np.full(n, len(radii) - 1)
    start = 0
    while True:
        at = np.minimum(at, np.searchsorted(radii, questions.distance, side="left") - 1)
        rows = np.flatnonzero(questions.left & (at >= 0) & (failed < _STARTS))
        if not len(rows) or not space.clean.shape[1]:
            return
        before = questions.distance[rows]
        radius = radii[at[rows]]
        search = _Sweep(questions, space, rows, radius, draws, f"greedy/{start}", ids)
        x, wrong = search.climb(search.begin(random=failed[rows] > 0))
        if wrong.any():
            _draw_back(questions, space, rows[wrong], x[wrong])
        gained = questions.distance[rows] < before
        failed[rows] = np.where(gained, 0, failed[rows] + 1)
        start += 1


@dataclass
class _Sweep:
    """One search within a radius for each of m rows.

    Attributes:
        questions: asks.
        space: the rows that are allowed.
        rows: which they are, shape (m,).
        radius: of each, shape (m,).
        draws: keyed by sample.
        name: of the search among draws.
        ids: of all samples.
    """

    questions: BudgetedQuestions
    space: RowSpace
    rows: Ints
    radius: Floats
    draws: Draws
    name: str
    ids: Sequence[str]

    def begin(self, *, random: NDArray[np.bool_]) -> Floats:
        """Returns the rows themselves, or random ones of the ball, (m, d)."""
        space, clean = self.space, self.space.clean[self.rows]
        ids = [self.ids[int(row)] for row in self.rows]
        numbers = self.draws.uniform(ids, f"{self.name}/start", (3, clean.shape[1]))
        low, high = _range(space, self.rows, clean, self.radius)
        other = low + (high - low) * numbers[:, 0]
        width = len(space.numbers)
        most = np.array([len(one) for one in space.options], dtype=np.float64)
        other[:, width:] = np.floor(numbers[:, 0, width:] * (most + 1))
        # Some columns alone, so that starts are near the row as well.
        moved = np.where(numbers[:, 1] < numbers[:, 2, :1], other, clean)
        return np.where(random[:, None], moved, clean)

    def climb(self, x: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        """Returns where the search ends, and whether the model is wrong there."""
        questions, space, rows = self.questions, self.space, self.rows
        x = space.allowed(rows, x)
        near = space.distance(rows, x) <= self.radius
        x = np.where(near[:, None], x, space.clean[rows])
        lead = questions.lead(rows, x)
        open_ = np.ones(len(rows), dtype=np.bool_)
        for sweep in range(2 * x.shape[1] + 1):
            at = np.flatnonzero(open_ & (lead <= 0) & questions.left[rows])
            if not len(at):
                break
            ids = [self.ids[int(row)] for row in rows[at]]
            numbers = self.draws.uniform(ids, f"{self.name}/{sweep}", (2, x.shape[1]))
            tried = _Tried.of(
                questions, space, rows[at], x=x[at], radius=self.radius[at], numbers=numbers
            )
            chosen, top = tried.best(lead[at])
            better = top > lead[at]
            x[at[better]], lead[at[better]] = chosen[better], top[better]
            open_[at[~better]] = False
        return x, lead > 0


def _range(space: RowSpace, rows: Ints, x: Floats, radius: Floats) -> tuple[Floats, Floats]:
    """Returns how far each column may go while the others stay, in coordinates."""
    clean, scale, radius = space.clean[rows], space.scale, radius * INWARDS
    if space.norm == "l2":
        moves = space.moves(rows, x)
        rest = (moves**2).sum(axis=1, keepdims=True) - moves**2
        room = np.sqrt(np.maximum(radius[:, None] ** 2 - rest, 0.0))
    else:
        room = np.broadcast_to(radius[:, None], x.shape)
    low = np.maximum(space.low[rows], clean - room * scale)
    high = np.minimum(space.high[rows], clean + room * scale)
    return np.minimum(low, clean), np.maximum(high, clean)


@dataclass
class _Tried:
    """Rows that differ from m others in one column each, and what the model answered.

    Attributes:
        questions: asks.
        space: the rows that are allowed.
        rows: which they are, shape (m,).
        x: where they stand, shape (m, d).
        radius: of each, shape (m,).
        points: shape (m, tries, d).
        found: the leads, shape (m, tries); -infinity for what was not asked.
    """

    questions: BudgetedQuestions
    space: RowSpace
    rows: Ints
    x: Floats
    radius: Floats
    points: Floats
    found: Floats

    @classmethod
    def of(
        cls, questions: BudgetedQuestions, space: RowSpace, rows: Ints, *, x: Floats,
        radius: Floats, numbers: NDArray[np.float32],
    ) -> _Tried:  # fmt: skip
        """Asks about them; `numbers` are uniform, (m, 2, d)."""
        points = _neighbours(space, rows, x, radius, numbers)
        m, count, d = points.shape
        many = np.repeat(rows, count)
        points = space.allowed(many, points.reshape(m * count, d))
        fit = space.distance(many, points) <= np.repeat(radius, count)
        fit &= (points != np.repeat(x, count, axis=0)).any(axis=1)
        found = np.full(m * count, -np.inf)
        if fit.any():
            found[fit] = questions.lead(many[fit], points[fit])
        return cls(
            questions, space, rows, x, radius, points.reshape(m, count, d), found.reshape(m, count)
        )

    def best(self, lead: Floats) -> tuple[Floats, Floats]:
        """Returns the best single change, or all at once if that is better, and its lead."""
        m = np.arange(len(self.rows))
        at = self.found.argmax(axis=1)
        chosen, top = self.points[m, at], self.found[m, at]
        helps = np.where(self.found > lead[:, None], self.found - lead[:, None], -np.inf)
        both = self.space.allowed(self.rows, self._together(helps))
        fit = self.space.distance(self.rows, both) <= self.radius
        fit &= np.isfinite(helps).any(axis=1) & (top <= 0) & (both != chosen).any(axis=1)
        rows = np.flatnonzero(fit)
        if len(rows):
            leads = self.questions.lead(self.rows[rows], both[rows])
            better = leads > top[rows]
            chosen[rows[better]], top[rows[better]] = both[rows[better]], leads[better]
        return chosen, top

    def _together(self, helps: Floats) -> Floats:
        """Returns what helps in each column, in all of them at once, within the ball."""
        space, x, m = self.space, self.x, np.arange(len(self.rows))
        scale, width = space.scale, len(space.numbers)
        both, slope = x.copy(), np.zeros_like(x)
        for column in range(x.shape[1]):
            mine = np.where(self.points[:, :, column] != x[:, None, column], helps, -np.inf)
            at = mine.argmax(axis=1)
            gain, value = mine[m, at], self.points[m, at, column]
            some = np.isfinite(gain)
            both[some, column] = value[some]
            slope[some, column] = gain[some] / ((value - x[:, column])[some] / scale[column])
        if space.norm == "linf":
            return both
        # The steepest way, not as far as each goes by itself.
        clean = space.clean[self.rows]
        slope[:, width:] = 0.0
        steep = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-30)
        moved = x + self.radius[:, None] * slope / steep * scale - clean
        room = np.sqrt(np.maximum(self.radius**2 - (both[:, width:] != 0).sum(axis=1), 0.0))
        size = np.linalg.norm(moved[:, :width] / scale[:width], axis=1)
        share = np.minimum(1.0, room * INWARDS / np.maximum(size, 1e-30))[:, None]
        both[:, :width] = (clean + moved * share)[:, :width]
        return both


def _neighbours(
    space: RowSpace, rows: Ints, x: Floats, radius: Floats, numbers: NDArray[np.float32]
) -> Floats:
    """Returns rows that differ in one column each, shape (m, tries, d)."""
    low, high = _range(space, rows, x, radius)
    clean, width = space.clean[rows], len(space.numbers)
    values = [
        low,
        high,
        low + (clean - low) * numbers[:, 0],
        clean + (high - clean) * numbers[:, 1],
    ]
    values.append(clean)
    made = []
    for column in range(width):
        for value in values:
            other = x.copy()
            other[:, column] = value[:, column]
            made.append(other)
    for place, options in enumerate(space.options):
        for code in range(len(options) + 1):
            other = x.copy()
            other[:, width + place] = code
            made.append(other)
    return np.stack(made, axis=1)


def _draw_back(questions: BudgetedQuestions, space: RowSpace, rows: Ints, x: Floats) -> None:
    """Goes back towards the rows, first as a whole, then column by column."""
    towards(questions, rows, x, space.norm, _TOLERANCE)  # the questions hold the nearest
    x = questions.best[rows].copy()
    for column in range(x.shape[1]):
        moved = x[:, column] != space.clean[rows, column]
        at = np.flatnonzero(moved & questions.left[rows])
        if not len(at):
            continue
        other = x[at].copy()
        other[:, column] = space.clean[rows[at], column]
        other = space.allowed(rows[at], other)
        wrong = questions.lead(rows[at], other) > 0
        x[at[wrong]] = other[wrong]
    # Of equal distance the questions keep the first; fewer columns are the better example.
    fewer = space.distance(rows, x) <= questions.distance[rows] * (1 + _OVER)
    questions.best[rows[fewer]] = x[fewer]
