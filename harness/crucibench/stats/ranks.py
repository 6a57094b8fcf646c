"""Ranks of numbers, ties averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks


def tie_groups(values: NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Sort, and say which of the sorted values are equal.

    Args:
        values: (n,) float64 without nan.

    Returns:
        order: (n,) positions that sort ``values`` upwards.
        starts: (g,) where each run of equal values begins in sorted order; ``starts[0]`` is 0.
    """
    order = np.argsort(values)
    ordered = values[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    return order, starts


def midranks(values: ArrayLike) -> NDArray[np.float64]:
    """Return the ranks of values, 1 for the smallest; equal values share the mean of their ranks.

    Args:
        values: (n,) numbers, n >= 1; infinities are allowed, nan is not.

    Returns:
        (n,) float64 in [1, n], exact multiples of 0.5, summing to n (n + 1) / 2.

    Raises:
        ValueError: Not one-dimensional, empty, not numbers, or a nan.

    Source:
        Sun and Xu 2014, IEEE Signal Processing Letters 21:1389.
    """
    array = _checks.vector("values", values, allow_infinite=True)
    if array.size == 0:
        raise ValueError("values: expected at least one value, got none")
    order, starts = tie_groups(array)
    sizes = np.diff(starts, append=array.size)
    # Ranks start+1 .. start+size average to start + (size + 1) / 2.
    ranks = np.empty(array.size)
    ranks[order] = np.repeat(starts + (sizes + 1) / 2.0, sizes)
    return ranks
