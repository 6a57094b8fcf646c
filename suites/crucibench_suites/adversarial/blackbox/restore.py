"""Restoring, a search on labels alone for models of steps: trees, forests, rounded answers.

Where answers are constant almost everywhere, samples of a gradient say nothing. What can be asked
is whether a change is needed at all. In L2 and L1 coordinates go back to what they were, in blocks
and one by one, and those that can't go on as near as a search along each finds; then some others
are changed a little, so that what was needed no longer is. In Linf the sign of the change is
flipped in blocks, and kept where the boundary comes nearer (RayS, Chen and Gu 2020). All samples go
side by side, each with draws of its own, until its budget is spent.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import NamedTuple

import numpy as np

from crucibench.contracts.attack import Floats, Ints, LabelAttack, Norm, Search
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions, start, towards
from crucibench_suites.adversarial.protocol import BALLS
from crucibench_suites.adversarial.threat import sizes

_CLOSE = 0.02
"""Relative: a coordinate that is known so well is not asked about again."""

_FINE = 1e-3
"""The same of a radius."""

_OTHERS = 0.3
"""By how much, in units of the largest change, others are changed so that this one can go back."""

Steps = Generator[Floats, bool, None]
"""Asks whether the model gets points (d,) wrong, one after the other; ends where none is nearer."""


class _Sample(NamedTuple):
    """A sample, the box around it, the coordinates that may change, its draws, and the norm."""

    clean: Floats
    low: Floats
    high: Floats
    free: Ints
    rng: np.random.Generator
    norm: Norm


class Restore(LabelAttack):
    """Restoring on images."""

    name = "restore"
    norms = BALLS

    def run(self, given: Search) -> None:
        """Searches until every budget is spent."""
        restore(given.questions, given.ids, given.draws)


class TableRestore(Restore):
    """Restoring on rows of tables."""

    name = "table-restore"
    norms = ("linf", "l2")
    space = "table"


def restore(questions: BudgetedQuestions, ids: Sequence[str], draws: Draws) -> None:
    """Searches until every sample's budget is spent, or its smallest radius reached."""
    space = questions.space
    x = start(questions, ids, draws, "restore")
    rows = np.flatnonzero(np.isfinite(questions.distance) & questions.left)
    x[rows] = towards(questions, rows, x[rows], space.norm, _CLOSE)
    search = _flips if space.norm == "linf" else _returns
    running: dict[int, tuple[Steps, Floats]] = {}
    for row in rows.tolist():
        seed = draws.words([ids[row]], "restore/seed", 2)[0]
        free = np.flatnonzero(space.high[row] > space.low[row])
        of = _Sample(
            space.clean[row], space.low[row], space.high[row], free,
            np.random.default_rng(seed), space.norm,
        )  # fmt: skip
        steps = search(of, x[row])
        if (point := next(steps, None)) is not None:
            running[row] = steps, point
    while running:
        asked = np.array([row for row in running if questions.left[row]], dtype=np.int64)
        if not len(asked):
            return
        points = np.stack([running[row][1] for row in asked.tolist()])
        wrong = questions.lead(asked, points) > 0
        answers = dict(zip(asked.tolist(), wrong.tolist(), strict=True))
        running = {
            row: (steps, point)
            for row, (steps, _) in running.items()
            if row in answers and (point := _next_point(steps, answers[row])) is not None
        }


def _next_point(steps: Steps, is_wrong: bool) -> Floats | None:
    try:
        return steps.send(is_wrong)
    except StopIteration:
        return None


def _returns(of: _Sample, x: Floats) -> Steps:
    """Takes back what is not needed, and then disturbs what is left."""
    best = x
    while True:
        x = yield from _taken_back(of.clean, x, of.rng)
        if np.array_equal(x, of.clean):
            return  # the model gets the sample itself wrong
        if sizes(x - of.clean, of.norm) < sizes(best - of.clean, of.norm):
            best = x
        x = yield from _disturbed(of, best)


def _taken_back(
    clean: Floats, x: Floats, rng: np.random.Generator
) -> Generator[Floats, bool, Floats]:
    """Returns a wrong point from which no block goes back further; `x` is one, (d,)."""
    moved = np.flatnonzero(x != clean)
    size = max(len(moved) // 2, 1)
    while len(moved):
        order = rng.permutation(moved)
        # Alone, the largest changes first: they are worth most.
        if size == 1:
            order = moved[np.argsort(-np.abs(x - clean)[moved], kind="stable")]
        for at in range(0, len(order), size):
            there = x.copy()
            there[order[at : at + size]] = clean[order[at : at + size]]
            if (yield there):
                x = there
        moved = np.flatnonzero(x != clean)
        if size == 1:
            break
        size = min(size // 2, max(len(moved) // 2, 1))
    least = np.zeros(len(x))  # the share of each change that is known not to do
    while len(moved):
        room = (1 - least[moved]) * np.abs(x - clean)[moved]
        open_ = moved[room > _CLOSE * max(np.abs(x - clean).max(), 1e-12)]
        if not len(open_):
            break
        at = open_[np.argmax((np.abs(x - clean) * (1 - least))[open_])]
        share = (1 + least[at]) / 2
        there = x.copy()
        there[at] = clean[at] + (x[at] - clean[at]) * share
        if (yield there):
            x, least[at] = there, least[at] / share
        else:
            least[at] = share
    return x


def _disturbed(of: _Sample, best: Floats) -> Generator[Floats, bool, Floats]:
    """Returns a wrong point without one of the changes of `best`, for others that are smaller."""
    clean, free, rng = of.clean, of.free, of.rng
    moved = np.flatnonzero(best != clean)
    change = np.abs(best - clean)
    while True:
        gone = rng.choice(moved, p=change[moved] / change[moved].sum())
        many = int(rng.integers(1, max(len(free) // 2, 2)))
        others = rng.choice(free, min(many, len(free)), replace=False)
        there = best.copy()
        size = _OTHERS * change.max() * rng.uniform(0.5, 3)
        there[others] = best[others] + size * rng.choice((-1.0, 1.0), len(others))
        there[gone] = clean[gone]
        there = np.clip(there, of.low, of.high)
        if (yield there):
            return there


def _flips(of: _Sample, x: Floats) -> Steps:
    """Flips signs of the change in blocks, from halves to single coordinates, and over again."""
    clean, free, rng = of.clean, of.free, of.rng
    signs = np.where(x >= clean, 1.0, -1.0)
    radius = float(np.abs(x - clean).max())

    def at(signs: Floats, size: float) -> Floats:
        there = clean.copy()
        there[free] = (clean + size * signs)[free]
        return np.clip(there, of.low, of.high)

    def nearer(signs: Floats, reach: float) -> Generator[Floats, bool, float]:
        """Returns the least radius known to do with these signs, which `reach` does."""
        low_, high_ = 0.0, reach
        while high_ - low_ > _FINE * reach:
            middle = (high_ + low_) / 2
            if (yield at(signs, middle)):
                high_ = middle
            else:
                low_ = middle
        return high_

    size = len(free)
    while size:
        order = rng.permutation(free)
        for begin in range(0, len(order), size):
            turned = signs.copy()
            turned[order[begin : begin + size]] *= -1
            # No nearer would be no gain: what is asked is a little nearer.
            if (yield at(turned, radius * (1 - _FINE))):
                signs = turned
                radius = yield from nearer(signs, radius * (1 - _FINE))
        size //= 2
    while True:
        # Then at random, coordinates that stay among them, and also where it is as far: on a model
        # of steps the boundary is the same for many.
        turned = signs.copy()
        some = rng.choice(free, min(len(free), 1 + int(rng.integers(8))), replace=False)
        turned[some] = rng.integers(-1, 2, len(some))
        if (yield at(turned, radius)):
            signs = turned
            if (yield at(signs, radius * (1 - _FINE))):
                radius = yield from nearer(signs, radius * (1 - _FINE))
