"""The nearest row that a decision tree gets wrong, in closed form.

A tree is constant on the boxes of its leaves, so the nearest such row lies in a leaf of another
class, and in each leaf's box the nearest point moves each column by itself, as little as takes it
over the threshold: exact in every norm. Trees compare float32, and so beyond a threshold lies the
next float32; in between the distance is exact up to that spacing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.attack import Floats, Ints
from crucibench.contracts.tree import Tree
from crucibench_suites.adversarial.tables.space import RowSpace
from crucibench_suites.adversarial.threat import sizes

_NUMBERS = 1 << 22
"""Of leaves, columns and rows that are held at once."""


class Leaves(NamedTuple):
    """The boxes of a tree's leaves, (leaves, columns): above `low`, up to `high`."""

    low: Floats
    high: Floats
    missing: NDArray[np.bool_]
    label: NDArray[np.int64]


def leaves_of(tree: Tree) -> Leaves:
    """Returns the box of each leaf, and whether rows without a value in a column may reach it."""
    width = len(tree.columns)
    found: list[tuple[Floats, Floats, NDArray[np.bool_], int]] = []
    stack = [(0, np.full(width, -np.inf), np.full(width, np.inf), np.ones(width, dtype=np.bool_))]
    while stack:
        node, low, high, missing = stack.pop()
        at = int(tree.column[node])
        if at < 0:
            found.append((low, high, missing, int(tree.label[node])))
            continue
        threshold, left = tree.threshold[node], bool(tree.missing_left[node])
        for child, goes_left in ((tree.left[node], True), (tree.right[node], False)):
            lower, upper, gaps = low.copy(), high.copy(), missing.copy()
            if goes_left:
                upper[at] = min(upper[at], threshold)
            else:
                lower[at] = max(lower[at], threshold)
            gaps[at] &= left == goes_left
            stack.append((int(child), lower, upper, gaps))
    return Leaves(
        np.stack([one[0] for one in found]), np.stack([one[1] for one in found]),
        np.stack([one[2] for one in found]), np.array([one[3] for one in found]),
    )  # fmt: skip


def nearest_leaves(
    tree: Tree, space: RowSpace, targets: NDArray[np.int64], most: int | None = None
) -> tuple[Floats, Floats]:
    """Returns the nearest points of another class and their distances.

    Args:
        tree: the model.
        space: the rows, and where their columns may go; relations are not looked at.
        targets: the true classes, shape (n,).
        most: columns that may change; None for all.

    Returns:
        Points (n, d), the row itself where no leaf can be reached, and distances (n,), infinite
        there.
    """
    leaves = leaves_of(tree)
    n = len(space)
    points, distances = space.clean.copy(), np.full(n, np.inf)
    part = max(1, _NUMBERS // max(1, leaves.low.size))
    for begin in range(0, n, part):
        rows = np.arange(begin, min(begin + part, n))
        there, moves = _into(tree, leaves, space, rows)  # (m, leaves, columns)
        reach = np.isfinite(moves).all(axis=2) & (leaves.label[None] != targets[rows, None])
        if most is not None:
            reach &= (moves > 0).sum(axis=2) <= most
        finite = np.where(np.isfinite(moves), moves, 0.0)
        size = np.where(reach, sizes(finite, space.norm), np.inf)
        # Of leaves as far away as each other, the one that fewer columns move for.
        order = np.lexsort(((moves > 0).sum(axis=2), size))
        best = order[:, 0]
        m = np.arange(len(rows))
        distances[rows] = size[m, best]
        values = space.values(space.clean[rows])
        for at, name in enumerate(tree.columns):
            if name in space.numbers:
                moved = np.isfinite(distances[rows]) & (moves[m, best, at] > 0)
                column = space.numbers.index(name)
                values[moved, column] = there[m, best, at][moved]
        points[rows] = space.point(rows, values)
    return points, distances


def _into(tree: Tree, leaves: Leaves, space: RowSpace, rows: Ints) -> tuple[Floats, Floats]:
    """Returns the nearest value of each column in each leaf, and the move in units of spread."""
    shape = (len(rows), *leaves.low.shape)
    there, moves = np.zeros(shape), np.zeros(shape)
    for at, name in enumerate(tree.columns):
        own = space.frame[name].to_numpy(dtype=np.float64, na_value=np.nan)[rows][:, None]
        low, high = leaves.low[None, :, at], leaves.high[None, :, at]
        column = space.numbers.index(name) if name in space.numbers else -1
        whole = column >= 0 and bool(space.whole[column])
        seen = own.astype(np.float32).astype(np.float64)
        above, below = (np.floor(low) + 1, np.floor(high)) if whole else (_next(low), _last(high))
        value = np.where(seen <= low, above, np.where(seen > high, below, own))
        if column >= 0:
            fits = (value >= space.least[rows, column][:, None]) & (
                value <= space.most[rows, column][:, None]
            )
            # A box that the column's kind has no value in, as between two whole numbers.
            fits &= (value.astype(np.float32) > low) & (value.astype(np.float32) <= high)
            move = np.abs(value - own) / space.spread[column]
        else:
            fits, move = np.zeros_like(value, dtype=np.bool_), np.zeros_like(value)
        move = np.where((value == own) | fits, np.where(value == own, 0.0, move), np.inf)
        gone = np.isnan(own)
        move = np.where(gone, np.where(leaves.missing[None, :, at], 0.0, np.inf), move)
        there[:, :, at], moves[:, :, at] = np.broadcast_to(value, shape[:2]), move
    return there, moves


def _next(threshold: Floats) -> Floats:
    """Returns the least float32 above each threshold."""
    near = threshold.astype(np.float32)
    up = np.nextafter(near, np.float32(np.inf))
    return np.where(near.astype(np.float64) > threshold, near, up).astype(np.float64)


def _last(threshold: Floats) -> Floats:
    """Returns the greatest float32 that is no larger than each threshold."""
    near = threshold.astype(np.float32)
    down = np.nextafter(near, np.float32(-np.inf))
    return np.where(near.astype(np.float64) <= threshold, near, down).astype(np.float64)
