"""A greedy search with random restarts: column by column, whatever brings the model nearest to wrong.

Within a radius a search begins at the row itself, later ones at random rows of the ball. Of the ends
of each column's range, two random values between them, the row's own value and every other category
it takes what raises the lead of a wrong class most, or all that helps at once if that is better,
until the model is wrong or nothing helps. What
is found is drawn back towards the row, as a whole and then column by column, and the search goes on
within the next smaller radius.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.blackbox.starting import towards
from crucibench_suites.adversarial.tables.space import Space

_STARTS = 10
"""Searches in a row that may fail within a radius before a sample is let go."""

_INWARDS = 1 - 1e-6
"""Of a radius: rounding must not carry a value out of the ball."""
_TOLERANCE = 0.02
_OVER = 1e-12


def greedy(
    books: Books, space: Space, ids: Sequence[str], draws: Draws, radii: Floats
) -> None:
    """Searches until each row's budget is spent, its smallest radius reached, or starts are used.

    Args:
        books: asks, and holds what is found.
        space: the rows that are allowed.
        ids: of the samples, which key all draws.
        draws: likewise.
        radii: ascending, above 0.
    """
    n = len(space)
    failed, at = np.zeros(n, dtype=np.int64), np.full(n, len(radii) - 1)
    start = 0
    while True:
        at = np.minimum(at, np.searchsorted(radii, books.distance, side="left") - 1)
        rows = np.flatnonzero(books.left & (at >= 0) & (failed < _STARTS))
        if not len(rows) or not space.clean.shape[1]:
            return
        before = books.distance[rows]
        radius = radii[at[rows]]
        names = [ids[row] for row in rows]
        x = _begin(space, rows, radius, names, draws, f"greedy/{start}", failed[rows] > 0)
        x, wrong = _climb(books, space, rows, x, radius, names, draws, f"greedy/{start}")
        if wrong.any():
            _draw_back(books, space, rows[wrong], x[wrong])
        gained = books.distance[rows] < before
        failed[rows] = np.where(gained, 0, failed[rows] + 1)
        start += 1


def _begin(
    space: Space, rows: Ints, radius: Floats, ids: Sequence[str], draws: Draws, name: str,
    random: Floats,
) -> Floats:  # fmt: skip
    clean = space.clean[rows]
    numbers = draws.uniform(ids, f"{name}/start", (3, clean.shape[1])).astype(np.float64)
    low, high = _range(space, rows, clean, radius)
    other = low + (high - low) * numbers[:, 0]
    width = len(space.numbers)
    most = np.array([len(one) for one in space.options], dtype=np.float64)
    other[:, width:] = np.floor(numbers[:, 0, width:] * (most + 1))
    # Some columns alone, so that starts are near the row as well.
    moved = np.where(numbers[:, 1] < numbers[:, 2, :1], other, clean)
    return np.where(random[:, None], moved, clean)


def _range(space: Space, rows: Ints, x: Floats, radius: Floats) -> tuple[Floats, Floats]:
    """Returns how far each column may go while the others stay, in coordinates."""
    clean, scale, radius = space.clean[rows], space.scale, radius * _INWARDS
    if space.norm == "l2":
        moves = space.moves(rows, x)
        rest = (moves**2).sum(axis=1, keepdims=True) - moves**2
        room = np.sqrt(np.maximum(radius[:, None] ** 2 - rest, 0.0))
    else:
        room = np.broadcast_to(radius[:, None], x.shape)
    low = np.maximum(space.low[rows], clean - room * scale)
    high = np.minimum(space.high[rows], clean + room * scale)
    return np.minimum(low, clean), np.maximum(high, clean)


def _climb(
    books: Books, space: Space, rows: Ints, x: Floats, radius: Floats, ids: Sequence[str],
    draws: Draws, name: str,
) -> tuple[Floats, np.ndarray]:  # fmt: skip
    """Returns where the search ends, and whether the model is wrong there."""
    x = space.allowed(rows, x)
    x = np.where((space.distance(rows, x) <= radius)[:, None], x, space.clean[rows])
    lead = books.lead(rows, x)
    open_ = np.ones(len(rows), dtype=np.bool_)
    for sweep in range(2 * x.shape[1] + 1):
        at = np.flatnonzero(open_ & (lead <= 0) & books.left[rows])
        if not len(at):
            break
        numbers = draws.uniform([ids[one] for one in at], f"{name}/{sweep}", (2, x.shape[1]))
        tried = _neighbours(space, rows[at], x[at], radius[at], numbers.astype(np.float64))
        m, count, d = tried.shape
        many = np.repeat(rows[at], count)
        tried = space.allowed(many, tried.reshape(m * count, d))
        fit = space.distance(many, tried) <= np.repeat(radius[at], count)
        fit &= (tried != np.repeat(x[at], count, axis=0)).any(axis=1)
        found = np.full(m * count, -np.inf)
        if fit.any():
            found[fit] = books.lead(many[fit], tried[fit])
        found, tried = found.reshape(m, count), tried.reshape(m, count, d)
        best = found.argmax(axis=1)
        chosen, top = tried[np.arange(m), best], found[np.arange(m), best]
        _together(
            books, space, rows[at], x[at], lead[at], radius[at], tried, found, chosen, top
        )
        better = top > lead[at]
        x[at[better]] = chosen[better]
        lead[at[better]] = top[better]
        open_[at[~better]] = False
    return x, lead > 0


def _together(
    books: Books, space: Space, rows: Ints, x: Floats, lead: Floats, radius: Floats,
    tried: Floats, found: Floats, chosen: Floats, top: Floats,
) -> None:  # fmt: skip
    """Tries what helps in each column in all of them at once; takes it where that is better."""
    m, width = len(rows), len(space.numbers)
    clean, scale = space.clean[rows], space.scale
    both, slope = x.copy(), np.zeros_like(x)
    gains = np.where(found > lead[:, None], found - lead[:, None], -np.inf)
    for column in range(x.shape[1]):
        mine = np.where(tried[:, :, column] != x[:, None, column], gains, -np.inf)
        best = mine.argmax(axis=1)
        gain, value = mine[np.arange(m), best], tried[np.arange(m), best, column]
        helps = np.isfinite(gain)
        both[helps, column] = value[helps]
        moved = (value[helps] - x[helps, column]) / scale[column]
        slope[helps, column] = gain[helps] / moved
    if space.norm == "l2":  # the steepest way, not as far as each goes
        slope[:, width:] = 0.0
        steep = np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-30)
        both[:, :width] = (x + radius[:, None] * slope / steep * scale)[:, :width]
        kept = (both[:, width:] != 0).sum(axis=1)
        room = np.sqrt(np.maximum(radius**2 - kept, 0.0)) * _INWARDS
        size = np.linalg.norm((both - clean)[:, :width] / scale[:width], axis=1)
        share = np.minimum(1.0, room / np.maximum(size, 1e-30))[:, None]
        both[:, :width] = (clean + (both - clean) * share)[:, :width]
    both = space.allowed(rows, both)
    fit = (space.distance(rows, both) <= radius) & (np.abs(both - chosen).max(axis=1) > 0)
    at = np.flatnonzero(fit & np.isfinite(gains).any(axis=1) & (top <= 0))
    if not len(at):
        return
    said = books.lead(rows[at], both[at])
    better = said > top[at]
    chosen[at[better]], top[at[better]] = both[at[better]], said[better]


def _neighbours(
    space: Space, rows: Ints, x: Floats, radius: Floats, numbers: Floats
) -> Floats:
    """Returns rows that differ in one column each, shape (m, tries, d)."""
    low, high = _range(space, rows, x, radius)
    clean, width = space.clean[rows], len(space.numbers)
    values = [low, high, low + (clean - low) * numbers[:, 0], clean + (high - clean) * numbers[:, 1]]
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


def _draw_back(books: Books, space: Space, rows: Ints, x: Floats) -> None:
    """Goes back towards the rows, first as a whole, then column by column."""
    towards(books, rows, x, space.norm, _TOLERANCE)  # the books hold the nearest
    x = books.best[rows].copy()
    for column in range(x.shape[1]):
        moved = x[:, column] != space.clean[rows, column]
        at = np.flatnonzero(moved & books.left[rows])
        if not len(at):
            continue
        other = x[at].copy()
        other[:, column] = space.clean[rows[at], column]
        other = space.allowed(rows[at], other)
        wrong = books.lead(rows[at], other) > 0
        x[at[wrong]] = other[wrong]
    # Of equal distance the books keep the first; fewer columns are the better example.
    fewer = space.distance(rows, x) <= books.distance[rows] * (1 + _OVER)
    books.best[rows[fewer]] = x[fewer]
