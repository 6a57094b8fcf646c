"""Floors of trees, forests and boosting: branch and bound over the boxes that trees split.

Within a box, each tree gives at least the least that its leaves there give to a margin; taken
together with a second tree's, leaf by leaf where these meet (cliques, Chen et al. 2019, "Robustness
verification of tree-based models"), at least as much. What no such sum settles is split where most
trees do. It ends: with a proof, with a point that is wrong, or with a count of boxes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats, Norm
from crucibench.contracts.tree import Forest
from crucibench_suites.adversarial.tables.exact_tree import leaves_of
from crucibench_suites.adversarial.threat import sizes

_BOXES = 400
"""Boxes of one sample and radius, before it is left open."""

_PAIRS = 4096
"""Pairs of leaves of two trees that are looked at."""

_ROUND = 1e-6
"""Relative to 1: what lies so near to a threshold may fall on either side, in float32."""

_SUM = 1e-9
"""Relative to the leaves' size: what adding them up may lose."""


class Leaves(NamedTuple):
    """Leaves of a tree, or of several at once: boxes (n, d), above `low`, up to `high`; and what
    each gives to the margin over every class, (n, K).
    """

    low: Floats
    high: Floats
    gives: Floats

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Leaves:
        """Returns some of them."""
        return Leaves(self.low[rows], self.high[rows], self.gives[rows])


class Verified(NamedTuple):
    """What is known of a ball: that nothing in it is wrong, or that something is; or neither."""

    holds: bool
    broken: bool


class Verifier:
    """A forest, asked about balls around points."""

    def __init__(self, forest: Forest) -> None:
        self._base = forest.base
        self._trees: list[Leaves] = []
        for tree, scores in zip(forest.trees, forest.scores, strict=True):
            found = leaves_of(tree)
            self._trees.append(Leaves(found.low, found.high, scores[found.label]))

    def scores(self, x: Floats) -> Floats:
        """Returns the forest's scores of a point (d,), which trees compare as float32."""
        seen = x.astype(np.float32)
        total = self._base.copy()
        for tree in self._trees:
            inside = ((seen > tree.low) & (seen <= tree.high)).all(axis=1)
            total += tree.gives[inside][0]
        return total

    def ball(self, x: Floats, y: int, eps: float, norm: Norm) -> Verified:
        """Says what is known of the points within `eps` of `x`, and within [0, 1].

        Args:
            x: shape (d,).
            y: the class.
            eps: the radius.
            norm: of the ball.
        """
        reach = eps * (1 + _ROUND) + _ROUND
        size = sum(float(np.abs(tree.gives).max()) for tree in self._trees)
        start = self._base[y] - self._base - _SUM * (1 + size)
        margins = [
            Leaves(tree.low, tree.high, tree.gives[:, [y]] - tree.gives) for tree in self._trees
        ]
        low, high = np.maximum(x - reach, -_ROUND), np.minimum(x + reach, 1 + _ROUND)
        stack = [(low, high, margins)]
        for _ in range(_BOXES):
            if not stack:
                return Verified(True, False)
            low, high, trees = stack.pop()
            trees = [_within(tree, low, high, (x, reach, norm)) for tree in trees]
            if _least(trees, start, y, (x, reach, norm)):
                continue
            point = np.clip(x, np.maximum(low, 0), np.minimum(high, 1)).astype(np.float32)
            near = sizes(point.astype(np.float64) - x, norm) <= eps
            if near and int(self.scores(point.astype(np.float64)).argmax()) != y:
                return Verified(False, True)
            split = _split(trees, low, high)
            if split is None:
                return Verified(False, False)
            at, value = split
            below, above = high.copy(), low.copy()
            below[at], above[at] = value, value
            # What is nearer to the sample is looked at last: examples lie on its edge.
            stack += [(low, below, trees), (above, high, trees)][:: 1 if x[at] <= value else -1]
        return Verified(False, False)


def _within(tree: Leaves, low: Floats, high: Floats, ball: tuple[Floats, float, Norm]) -> Leaves:
    """Returns the leaves that have points in a box and within reach."""
    x, reach, norm = ball
    below, above = np.maximum(tree.low, low), np.minimum(tree.high, high)
    # Leaves and boxes are open below: a box that was split begins above its threshold.
    meets = (below < above).all(axis=1)
    away = np.maximum(np.maximum(below - x, x - above), 0.0)
    meets &= sizes(away, norm) <= reach
    return Leaves(below[meets], above[meets], tree.gives[meets])


def _least(trees: list[Leaves], start: Floats, y: int, within: tuple[Floats, float, Norm]) -> bool:
    """Whether the margin is above 0 everywhere, of groups of trees that are joined as they fit."""
    others = np.arange(len(start)) != y
    while True:
        if any(not len(tree.gives) for tree in trees):
            return True  # no point of the box is in the ball
        least = start + sum(tree.gives.min(axis=0) for tree in trees)
        if bool((least[others] > 0).all()):
            return True
        joined = _joined(sorted(trees, key=lambda tree: len(tree.gives)), within)
        if len(joined) == len(trees):
            return False
        trees = joined


def _joined(trees: list[Leaves], within: tuple[Floats, float, Norm]) -> list[Leaves]:
    """Returns neighbours joined to one each, as long as there are not too many pairs."""
    x, reach, norm = within
    found: list[Leaves] = []
    while trees:
        first, *trees = trees
        if trees and len(first.gives) * len(trees[0].gives) <= _PAIRS:
            second, *trees = trees
            low = np.maximum(first.low[:, None], second.low[None])
            high = np.minimum(first.high[:, None], second.high[None])
            meets = (low < high).all(axis=2)
            away = np.maximum(np.maximum(low - x, x - high), 0.0)
            meets &= sizes(away, norm) <= reach
            gives = first.gives[:, None] + second.gives[None]
            found.append(Leaves(low[meets], high[meets], gives[meets]))
        else:
            found.append(first)
    return found


def _split(trees: list[Leaves], low: Floats, high: Floats) -> tuple[int, float] | None:
    """Returns the column and threshold where most trees split a box; None if none does."""
    best, most = None, 0
    edges = np.concatenate([tree.high for tree in trees])
    inside = (edges > low) & (edges < high)
    for at in np.flatnonzero(inside.any(axis=0)).tolist():
        values, counts = np.unique(edges[inside[:, at], at], return_counts=True)
        if counts.max() > most:
            best, most = (at, float(values[counts.argmax()])), int(counts.max())
    return best
