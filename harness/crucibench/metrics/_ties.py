"""Rows sorted by a key once, equal keys kept together."""

from __future__ import annotations

from collections import deque
from typing import final

import numpy as np
from numpy.typing import NDArray

from crucibench.metrics._inputs import BoolArray, FloatArray, IntArray


@final
class TieGroups:
    """Rows in the order of a key, grouped where the key is equal.

    Holds 4 to 8 bytes a row, since one-vs-rest metrics keep one of these per class.
    """

    def __init__(self, key: FloatArray, *, descending: bool = False) -> None:
        order = _stable_order(key)
        if descending:
            order = order[::-1]
        ordered = key[order]
        first = np.ones(len(key), dtype=np.bool_)
        first[1:] = ordered[1:] != ordered[:-1]
        self._order = _compact(order)
        self._starts = None if first.all() else _compact(np.flatnonzero(first))

    def sums(self, weights: FloatArray, values: FloatArray | BoolArray | None = None) -> FloatArray:
        """Sums weights (b, n), times `values` (n,) if given, in every group: shape (b, G)."""
        ordered = weights.take(self._order, axis=1)
        if values is not None:
            ordered *= values[self._order]
        return ordered if self._starts is None else np.add.reduceat(ordered, self._starts, axis=1)

    def cumulated(self, weights: FloatArray, *columns: FloatArray | BoolArray) -> list[FloatArray]:
        """Returns running sums over the groups, (b, G) each: of weights, and of weighted columns.

        Args:
            weights: shape (b, n).
            columns: shape (n,) each.
        """
        ordered = weights.take(self._order, axis=1)
        sums = [ordered.cumsum(axis=1)]
        sums += [(ordered * column[self._order]).cumsum(axis=1) for column in columns]
        if self._starts is None:
            return sums
        last = np.append(self._starts[1:], len(self._order)) - 1
        return [column.take(last, axis=1) for column in sums]

    def first(self, column: FloatArray) -> FloatArray:
        """Returns, for each group in order, the number its first row has in `column` (n,): (G,)."""
        return column[self._order if self._starts is None else self._order[self._starts]]

    def runs(self, split: BoolArray) -> IntArray:
        """Returns the run of each row, (n,) from 0: groups that are not to be split from the last.

        Args:
            split: whether a group begins a run, shape (G,); the first does.
        """
        return np.asarray((split.cumsum() - split[0])[self.rows()])

    def rows(self) -> NDArray[np.int32 | np.int64]:
        """Returns each row's group number, shape (n,)."""
        step = np.zeros(len(self._order), dtype=self._order.dtype)
        step[slice(1, None) if self._starts is None else self._starts[1:]] = 1
        group = np.empty_like(step)
        group[self._order] = step.cumsum()
        return group


_WORTH_KEEPING = range(10_000, 4_000_000)
_recent: deque[tuple[FloatArray, NDArray[np.intp]]] = deque(maxlen=3)
"""The keys that were sorted last: a dozen numbers rank the same samples by the same scores."""


def _stable_order(key: FloatArray) -> NDArray[np.intp]:
    """Returns what a stable argsort does, in a third of its time where few keys are equal."""
    if len(key) not in _WORTH_KEEPING:
        return _sorted(key)
    for known, order in _recent:
        if np.array_equal(known, key):
            return order
    order = _sorted(key)
    _recent.append((key.copy(), order))
    return order


def _sorted(key: FloatArray) -> NDArray[np.intp]:
    order = np.argsort(key)
    ordered = key[order]
    same = ordered[1:] == ordered[:-1]
    tied = np.zeros(len(key), dtype=np.bool_)
    tied[1:] = same
    tied[:-1] |= same
    positions = np.flatnonzero(tied)
    if 4 * len(positions) > len(key):
        return np.argsort(key, kind="stable")
    rows = order[positions]
    order[positions] = rows[np.lexsort((rows, ordered[positions]))]
    return order


def _compact(indices: NDArray[np.intp]) -> NDArray[np.int32 | np.int64]:
    return indices.astype(np.int32 if len(indices) < 2**31 else np.int64)
