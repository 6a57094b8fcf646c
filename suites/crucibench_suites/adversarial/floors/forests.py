"""Floors of trees, forests and boosting: sums over leaves, and a mixed-integer programme.

Within a ball, each tree gives at least the least that its leaves there give to a margin; taken
together with a second tree's, leaf by leaf where these meet (cliques, Chen et al. 2019, "Robustness
verification of tree-based models"), at least as much. What no such sum settles is a programme,
solved by HiGHS. It ends: with a proof, with a point that is wrong, or with a count of nodes.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from crucibench.contracts.attack import Floats, Norm
from crucibench.contracts.tree import Forest
from crucibench_suites.adversarial.tables.exact_tree import leaves_of
from crucibench_suites.adversarial.threat import ORDERS, sizes

_NODES = 1000
"""Of a programme's search, after which its bound is taken as it is: the same everywhere, which a
limit of time would not be."""

_TOLERANCE = 1e-5
"""Relative to the leaves' size: what HiGHS may be off, which keeps 1e-6 of a constraint."""

_INFEASIBLE, _HALF = 2, 0.5

_PAIRS = 4096
"""Pairs of leaves of two trees that are looked at."""

_ROUND = 1e-6
"""Relative to 1: what lies so near to a threshold may fall on either side, in float32."""


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
        self._base, self._rounding = forest.base, forest.rounding
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
        # Each column may be off by as much.
        reach = eps * (1 + _ROUND) + _ROUND * len(x) ** (1 / ORDERS[norm])
        size = sum(float(np.abs(tree.gives).max()) for tree in self._trees)
        start = self._base[y] - self._base - self._rounding * (1 + size)
        margins = [
            Leaves(tree.low, tree.high, tree.gives[:, [y]] - tree.gives) for tree in self._trees
        ]
        low, high = np.maximum(x - reach, -_ROUND), np.minimum(x + reach, 1 + _ROUND)
        within = x, reach, norm
        trees = [_within(tree, low, high, within) for tree in margins]
        doubtful = _doubtful(trees, start, y, within)
        if not len(doubtful):
            return Verified(True, False)
        programme = _Programme(trees, low, high, within)
        holds = True
        for other in doubtful.tolist():
            least, point = programme.least(other)
            holds &= least + start[other] > _TOLERANCE * (1 + size)
            if holds or point is None:
                continue
            near = sizes(point.astype(np.float64) - x, norm) <= eps
            if near and int(self.scores(point.astype(np.float64)).argmax()) != y:
                return Verified(False, True)
        return Verified(holds, False)


class _Programme:
    """Leaves and the thresholds between them as a mixed-integer programme.

    It is Kantchelian, Tygar and Joseph's (2016, "Evasion and hardening of tree ensemble
    classifiers"): a number of 0 or 1 a threshold says whether a point lies up to it, one of each
    tree's leaves is taken, and leaves beyond a threshold exclude one another's sides of it. What a
    point moves is a sum over the thresholds that it passes, in L2 of squares.
    """

    def __init__(
        self, trees: list[Leaves], low: Floats, high: Floats, within: tuple[Floats, float, Norm]
    ) -> None:
        self._trees, self._low, self._high = trees, low, high
        self._x, reach, norm = within
        self._edges = [
            (at, float(edge))
            for at in range(len(low))
            for edge in np.unique(np.concatenate([tree.high[:, at] for tree in trees]))
            if low[at] < edge < high[at]
        ]
        count, leaves = len(self._edges), sum(len(tree.gives) for tree in trees)
        rows: list[tuple[NDArray[np.int64], NDArray[np.float64], float, float]] = []
        begin = count
        for tree in trees:
            places = begin + np.arange(len(tree.gives))
            begin += len(places)
            rows.append((places, np.ones(len(places)), 1.0, 1.0))
            for number, (at, edge) in enumerate(self._edges):
                for mask, sign in (
                    (tree.high[:, at] <= edge, -1.0),
                    (tree.low[:, at] >= edge, 1.0),
                ):
                    if mask.any():
                        chosen = np.append(places[mask], number)
                        rows.append((chosen, np.append(np.ones(mask.sum()), sign), -np.inf,
                                     max(sign, 0.0)))  # fmt: skip
        for number, ((at, _), (following, _)) in enumerate(pairwise(self._edges)):
            if at == following:
                rows.append((np.array([number, number + 1]), np.array([1.0, -1.0]), -np.inf, 0.0))
        if norm != "linf" and count:
            rows.append(self._moves(reach, ORDERS[norm]))
        ends = np.cumsum([0, *(len(taken) for taken, *_ in rows)])
        weights, taken = (np.concatenate([row[at] for row in rows]) for at in (1, 0))
        matrix = csr_array((weights, taken, ends), shape=(len(rows), count + leaves))
        least, most = (np.array([row[at] for row in rows]) for at in (2, 3))
        self._constraint = LinearConstraint(matrix, least, most)
        self._whole = np.arange(count + leaves) < count

    def _moves(
        self, reach: float, power: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], float, float]:
        """Returns the row that keeps a point within reach: what each threshold adds, if passed."""
        weight, base = np.zeros(len(self._edges)), 0.0
        for number, (at, edge) in enumerate(self._edges):
            up = edge >= self._x[at]
            beside = number - 1 if up else number + 1
            nearer = 0.0
            if 0 <= beside < len(self._edges):
                other, before = self._edges[beside]
                if other == at and (before >= self._x[at]) == up:
                    nearer = abs(before - self._x[at])
            adds = abs(edge - self._x[at]) ** power - nearer**power
            # Above the sample it is passed where it is 0, below where it is 1.
            weight[number], base = (-adds, base + adds) if up else (adds, base)
        return np.arange(len(weight)), weight, -np.inf, reach**power - base

    def least(self, other: int) -> tuple[float, NDArray[np.float32] | None]:
        """Returns what the margin over a class is at least, and a point where it is small."""
        gives = np.concatenate([tree.gives[:, other] for tree in self._trees])
        cost = np.append(np.zeros(len(self._edges)), gives)
        # With HiGHS's presolve (of SciPy 1.17) its optimum has been seen to be none.
        found = milp(
            cost, integrality=self._whole.astype(int), bounds=Bounds(0, 1),
            constraints=self._constraint, options={"node_limit": _NODES, "presolve": False},
        )  # fmt: skip
        if found.status == _INFEASIBLE:
            return np.inf, None  # no point of the box is in the ball
        solution: Any = found.x
        if solution is None:
            return -np.inf, None
        # Without thresholds there is nothing to search, and no bound of a search.
        bound: Any = found.fun if found.mip_dual_bound is None else found.mip_dual_bound
        low, high = self._low.copy(), self._high.copy()
        for (at, edge), taken in zip(self._edges, solution, strict=False):
            if taken > _HALF:
                high[at] = min(high[at], edge)
            else:
                low[at] = max(low[at], edge)
        # Leaves are open below.
        lowest, highest = low.astype(np.float32), high.astype(np.float32)
        lowest = np.where(lowest <= low, np.nextafter(lowest, np.float32(2)), lowest)
        highest = np.where(highest > high, np.nextafter(highest, np.float32(-1)), highest)
        point = np.clip(self._x.astype(np.float32), lowest, highest)
        return float(bound), np.clip(point, 0, 1)


def _within(tree: Leaves, low: Floats, high: Floats, ball: tuple[Floats, float, Norm]) -> Leaves:
    """Returns the leaves that have points in a box and within reach."""
    x, reach, norm = ball
    below, above = np.maximum(tree.low, low), np.minimum(tree.high, high)
    # Leaves and boxes are open below: a box that was split begins above its threshold.
    meets = (below < above).all(axis=1)
    away = np.maximum(np.maximum(below - x, x - above), 0.0)
    meets &= sizes(away, norm) <= reach
    return Leaves(below[meets], above[meets], tree.gives[meets])


def _doubtful(
    trees: list[Leaves], start: Floats, y: int, within: tuple[Floats, float, Norm]
) -> NDArray[np.int64]:
    """Returns the classes over which the margin may fall to 0, of trees joined as they fit."""
    others = np.arange(len(start)) != y
    while True:
        if any(not len(tree.gives) for tree in trees):
            return np.zeros(0, dtype=np.int64)  # no point of the box is in the ball
        least = start + sum(tree.gives.min(axis=0) for tree in trees)
        doubtful = np.flatnonzero(others & (least <= 0))
        joined = _joined(sorted(trees, key=lambda tree: len(tree.gives)), within)
        if not len(doubtful) or len(joined) == len(trees):
            return doubtful
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
