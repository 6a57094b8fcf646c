"""Ranks of numbers, ties averaged."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

Order = NDArray[np.int32 | np.int64]
"""Positions, in 4 bytes each where these do."""

_WORTH_KEEPING = range(10_000, 4_000_000)
_recent: deque[tuple[NDArray[np.float64], Order]] = deque(maxlen=3)
"""The keys that were sorted last: a dozen numbers rank the same samples by the same scores."""


def stable_order(values: NDArray[np.float64]) -> Order:
    """Return what a stable argsort does, in a third of its time where few values are equal.

    Args:
        values: (n,) float64 without nan.

    Returns:
        (n,) positions, not to be changed.
    """
    if len(values) not in _WORTH_KEEPING:
        return _sorted(values)
    for known, order in tuple(_recent):  # another thread may sort meanwhile
        if np.array_equal(known, values):
            return order
    order = _sorted(values)
    _recent.append((values.copy(), order))
    return order


def _sorted(values: NDArray[np.float64]) -> Order:
    kind = np.dtype(np.int32 if len(values) < 2**31 else np.int64)
    order: Order = np.argsort(values).astype(kind)
    ordered = values[order]
    same = ordered[1:] == ordered[:-1]
    tied = np.zeros(len(values), dtype=np.bool_)
    tied[1:] = same
    tied[:-1] |= same
    positions = np.flatnonzero(tied)
    if 4 * len(positions) > len(values):
        order = np.argsort(values, kind="stable").astype(kind)
    else:
        rows = order[positions]
        order[positions] = rows[np.lexsort((rows, ordered[positions]))]
    return order


def tie_groups(values: NDArray[np.float64]) -> tuple[Order, NDArray[np.intp]]:
    """Sort, and say which of the sorted values are equal.

    Args:
        values: (n,) float64 without nan.

    Returns:
        order: (n,) positions that sort ``values`` upwards, not to be changed.
        starts: (g,) where each run of equal values begins in sorted order; ``starts[0]`` is 0.
    """
    order = stable_order(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, starts


def average_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ranks of (n,) values without nan, from 1 on, equal ones sharing their mean."""
    order, starts = tie_groups(values)
    sizes = np.diff(starts, append=len(values))
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(starts + (sizes + 1) / 2, sizes)
    return ranks
