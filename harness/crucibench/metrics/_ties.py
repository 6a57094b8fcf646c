"""Rows sorted by a key once, equal keys kept together."""

from __future__ import annotations

from typing import final

import numpy as np

from crucibench.metrics._inputs import BoolArray, FloatArray, IntArray
from crucibench.metrics._rows import plain
from crucibench.stats.ranks import Order, tie_groups


@final
class TieGroups:
    """Rows in the order of a key, grouped where the key is equal.

    Holds 4 to 8 bytes a row, since one-vs-rest metrics keep one of these per class.
    """

    def __init__(self, key: FloatArray, *, descending: bool = False) -> None:
        order, starts = tie_groups(key)
        if descending:
            order, ends = order[::-1], np.append(starts[1:], len(key))
            starts = (len(key) - ends)[::-1]
        self._order = order
        self._starts = None if len(starts) >= len(key) else starts.astype(order.dtype)

    def sums(self, weights: FloatArray, values: FloatArray | BoolArray | None = None) -> FloatArray:
        """Sums weights (b, n), times `values` (n,) if given, in every group: shape (b, G)."""
        if plain(weights):
            if values is None:
                return self._sizes()[None].astype(np.float64)
            ordered = values[self._order].astype(np.float64, copy=False)[None]
        else:
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
        ordered = weights if plain(weights) else weights.take(self._order, axis=1)
        sums = [ordered.cumsum(axis=1)]
        sums += [(ordered * column[self._order]).cumsum(axis=1) for column in columns]
        if self._starts is None:
            return sums
        last = np.append(self._starts[1:], len(self._order)) - 1
        return [column.take(last, axis=1) for column in sums]

    def _sizes(self) -> IntArray:
        if self._starts is None:
            return np.ones(len(self._order), dtype=np.int64)
        return np.diff(self._starts, append=len(self._order))

    def first(self, column: FloatArray) -> FloatArray:
        """Returns, for each group in order, the number its first row has in `column` (n,): (G,)."""
        return column[self._order if self._starts is None else self._order[self._starts]]

    def runs(self, split: BoolArray) -> IntArray:
        """Returns the run of each row, (n,) from 0: groups that are not to be split from the last.

        Args:
            split: whether a group begins a run, shape (G,); the first does.
        """
        return np.asarray((split.cumsum() - split[0])[self.rows()])

    def rows(self) -> Order:
        """Returns each row's group number, shape (n,)."""
        step = np.zeros(len(self._order), dtype=self._order.dtype)
        step[slice(1, None) if self._starts is None else self._starts[1:]] = 1
        group = np.empty_like(step)
        group[self._order] = step.cumsum()
        return group
