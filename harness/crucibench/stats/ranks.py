"""Ranks of numbers, ties averaged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


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
