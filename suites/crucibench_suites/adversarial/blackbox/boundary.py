"""The Boundary attack (Brendel, Rauber and Bethge 2018), for L2, on labels alone.

A random walk along the boundary: a step at random on the sphere around the sample, and from there
one towards it. Both sizes follow each sample's own luck at every step, where the paper looks back
over some; targets are its 50 % of orthogonal steps and a third of those inwards.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.attack import LabelAttack, Search
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions, start, towards

_BLOCK = 64
"""Steps whose draws are made at once."""

_NUMBERS = 1 << 16
"""At most so many of a sample."""
_AROUND, _INWARDS = 0.1, 0.1
_GROW, _SHRINK = 1.1, 1 / 1.1
_GROW_INWARDS, _SHRINK_INWARDS = 1.2, 1.2**-0.5
_SMALLEST = 1e-4
"""A walk ends where steps inwards are a smaller share of the distance: beyond it an example would
lie so near the boundary that another batch's rounding puts it on the other side."""


class Boundary(LabelAttack):
    """The Boundary attack on images."""

    name = "boundary"
    norms = ("l2",)

    def run(self, given: Search) -> None:
        """Walks until every budget is spent."""
        boundary(given.questions, given.ids, given.draws)


def boundary(questions: BudgetedQuestions, ids: Sequence[str], draws: Draws) -> None:
    """Walks until every sample's budget is spent, or its smallest radius reached."""
    x = start(questions, ids, draws, "boundary")
    space = questions.space
    n, d = x.shape
    rows = np.flatnonzero(np.isfinite(questions.distance) & questions.left)
    x[rows] = towards(questions, rows, x[rows], space.norm, 1e-2)
    around, inwards = np.full(n, _AROUND), np.full(n, _INWARDS)
    free = space.high > space.low
    step, block = 0, max(1, min(_BLOCK, _NUMBERS // max(1, d)))
    while True:
        rows = rows[questions.left[rows] & (inwards[rows] > _SMALLEST)]
        if not len(rows):
            return
        if step % block == 0:
            drawn_for, names = rows, [ids[int(row)] for row in rows]
            numbers = draws.normal(names, f"boundary/{step // block}/{block}", (block, d))
        u = numbers[np.searchsorted(drawn_for, rows), step % block].astype(np.float64)
        step += 1
        clean, low, high = space.clean[rows], space.low[rows], space.high[rows]
        moved = x[rows] - clean
        size = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        u = np.where(free[rows], u, 0.0)
        u -= moved * (u * moved).sum(axis=1, keepdims=True) / size**2
        u *= around[rows, None] * size / np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-12)
        turned = moved + u
        turned *= size / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-12)
        sphere = np.clip(clean + turned, low, high)
        there = questions.lead(rows, sphere) > 0
        around[rows] *= np.where(there, _GROW, _SHRINK)
        around[rows] = np.clip(around[rows], _SMALLEST, 1.0)
        at = np.flatnonzero(there & questions.left[rows])
        if not len(at):
            continue
        nearer = clean[at] + (sphere[at] - clean[at]) * (1 - inwards[rows[at], None])
        wrong = questions.lead(rows[at], nearer) > 0
        x[rows[at]] = np.where(wrong[:, None], nearer, sphere[at])
        inwards[rows[at]] *= np.where(wrong, _GROW_INWARDS, _SHRINK_INWARDS)
        inwards[rows[at]] = np.minimum(inwards[rows[at]], 0.5)
