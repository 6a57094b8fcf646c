"""Sums along the rows of weights, typed, and the same bits for any number of threads.

Not by BLAS, whose last bit depends on how many threads it uses.
"""

from __future__ import annotations

import numpy as np

from crucibench.metrics._inputs import BoolArray, FloatArray


def plain(weights: FloatArray) -> bool:
    """Whether weights (b, n) are those of the samples as they are: one row of ones."""
    return len(weights) == 1 and bool((weights == 1.0).all())


def row_sums(array: FloatArray) -> FloatArray:
    """Sums an array (b, n) along its rows: shape (b,)."""
    return np.asarray(array.sum(axis=1))


def row_steps(array: FloatArray) -> FloatArray:
    """Returns what each number of an array (b, n) adds to the one before in its row, (b, n).

    As `np.diff` with 0 prepended, which copies the array a row at a time.
    """
    steps = np.empty_like(array)
    steps[:, :1] = array[:, :1]
    np.subtract(array[:, 1:], array[:, :-1], out=steps[:, 1:])
    return steps


def row_dots(left: FloatArray, right: FloatArray) -> FloatArray:
    """Returns the scalar products of the rows of two arrays (b, n): shape (b,)."""
    return np.asarray(np.einsum("bn,bn->b", left, right))


def weighted_sum(weights: FloatArray, values: FloatArray | BoolArray) -> FloatArray:
    """Sums `values` (n,) under `weights` (b, n): shape (b,)."""
    return np.asarray(np.einsum("bn,n->b", weights, values.astype(np.float64, copy=False)))
