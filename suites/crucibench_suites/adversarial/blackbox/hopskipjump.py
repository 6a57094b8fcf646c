"""HopSkipJump (Chen, Jordan and Wainwright 2020, algorithm 2), for L2 and Linf, on labels alone.

From a random point that the model gets wrong, a binary search leads to the boundary; there random
directions, of which the model says on which side they end, make a gradient; a step along it, and
another search. All samples go side by side, each with draws of its own, until its budget is spent.

Differences: where there are few coordinates the gradient begins with fewer than the paper's 100
directions (twice the coordinates, at least 20), and searches end no coarser than 1/1000.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from crucibench.contracts.attack import Floats, Ints, LabelAttack, Norm, Search
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions, start, towards
from crucibench_suites.adversarial.threat import sizes

_DIRECTIONS = 100
_FEWEST = 20
_MOST = 10_000
_HALVINGS = 30
_NUMBERS = 1 << 16
"""Random numbers of a sample that are held at once."""


class HopSkipJump(LabelAttack):
    """HopSkipJump on images."""

    name = "hopskipjump"

    def run(self, given: Search) -> None:
        """Searches until every budget is spent."""
        hopskipjump(given.questions, given.ids, given.draws)


class TableHopSkipJump(HopSkipJump):
    """HopSkipJump on rows of tables."""

    name = "table-hopskipjump"
    space = "table"


def hopskipjump(questions: BudgetedQuestions, ids: Sequence[str], draws: Draws) -> None:
    """Searches until every sample's budget is spent, or its smallest radius reached.

    Args:
        questions: asks, and keeps what is found.
        ids: of the samples, which key all draws.
        draws: likewise.
    """
    norm = questions.space.norm
    x = start(questions, ids, draws, "hopskipjump")
    d = int((questions.space.high > questions.space.low).any(axis=0).sum())
    if not d:
        return
    rows = np.flatnonzero(np.isfinite(questions.distance) & questions.left)
    theta = min(1e-3, 1 / (d * math.sqrt(d)) if norm == "l2" else 1 / d**2)
    x[rows] = towards(questions, rows, x[rows], norm, theta)
    step = 0
    while True:
        step += 1
        rows = rows[questions.left[rows]]
        if not len(rows):
            return
        asked = questions.queries[rows].copy()
        size = sizes(x[rows] - questions.space.clean[rows], norm)
        reach = np.maximum(size, 1e-12) * (math.sqrt(d) if norm == "l2" else d) * theta
        if step == 1:
            reach = np.full(len(rows), 0.1)
        count = min(int(min(_DIRECTIONS, max(2 * d, _FEWEST)) * math.sqrt(step)), _MOST)
        slope = _slope(
            questions, rows, x[rows], reach, count, norm=norm, ids=[ids[int(row)] for row in rows],
            draws=draws, name=f"hopskipjump/{step}",
        )  # fmt: skip
        x[rows] = _jump(questions, rows, x[rows], slope, size / math.sqrt(step))
        x[rows] = towards(questions, rows, x[rows], norm, theta)
        if bool((questions.queries[rows] == asked).all()):
            return


def _slope(
    questions: BudgetedQuestions, rows: Ints, x: Floats, reach: Floats, count: int, *, norm: Norm,
    ids: Sequence[str], draws: Draws, name: str,
) -> Floats:  # fmt: skip
    """Returns the direction in which the boundary is crossed, of norm 1, shape (m, d)."""
    m, d = x.shape
    low, high = questions.space.low[rows], questions.space.high[rows]
    part = max(1, min(count, _NUMBERS // max(1, d)))  # of the sample alone: others change no draw
    total, signed = np.zeros_like(x), np.zeros_like(x)
    sides = np.zeros(m)
    for begin in range(0, count, part):
        some = min(part, count - begin)
        if norm == "l2":
            u = draws.normal(ids, f"{name}/{begin}", (some, d)).astype(np.float64)
        else:
            u = draws.uniform(ids, f"{name}/{begin}", (some, d)).astype(np.float64) * 2 - 1
        u *= (high > low)[:, None]
        u /= np.maximum(np.linalg.norm(u, axis=2, keepdims=True), 1e-12)
        there = np.clip(x[:, None] + reach[:, None, None] * u, low[:, None], high[:, None])
        u = (there - x[:, None]) / reach[:, None, None]
        lead = questions.lead(np.repeat(rows, some), there.reshape(m * some, d)).reshape(m, some)
        side = np.where(lead > 0, 1.0, -1.0)
        total += u.sum(axis=1)
        signed += (side[:, :, None] * u).sum(axis=1)
        sides += side.sum(axis=1)
    mean = (sides / count)[:, None]
    slope = np.where(np.abs(mean) < 1, signed - mean * total, mean * total)
    if norm == "linf":
        return np.asarray(np.sign(slope))
    return np.asarray(slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12))


def _jump(
    questions: BudgetedQuestions, rows: Ints, x: Floats, slope: Floats, size: Floats
) -> Floats:
    """Goes along the slope as far as the model stays wrong, halving the step until it is."""
    low, high = questions.space.low[rows], questions.space.high[rows]
    found, size = x.copy(), size.copy()
    open_ = np.ones(len(rows), dtype=np.bool_)
    for _ in range(_HALVINGS):
        at = np.flatnonzero(open_ & questions.left[rows])
        if not len(at):
            break
        there = np.clip(x[at] + size[at, None] * slope[at], low[at], high[at])
        wrong = questions.lead(rows[at], there) > 0
        found[at[wrong]] = there[wrong]
        open_[at[wrong]] = False
        size[at[~wrong]] /= 2
    return found
