"""Checks of what metrics are given; every error names the argument, the expected and the got."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_SUM_TOLERANCE = 1e-3
_RANGE_TOLERANCE = 1e-6


def float_vector(name: str, values: ArrayLike, *, infinite: bool = False) -> FloatArray:
    """Returns values as float64, shape (n,); infinities pass only if `infinite`.

    Raises:
        ValueError: if they are no vector of numbers, or one is nan or (unless allowed) infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected shape (n,), got {array.shape}")
    _require_numbers(name, array, infinite=infinite)
    return array


def float_matrix(name: str, values: ArrayLike, *, infinite: bool = False) -> FloatArray:
    """Returns values as float64, shape (n, K) with K >= 2; infinities pass only if `infinite`.

    Raises:
        ValueError: if the shape is another, or a number is nan or (unless allowed) infinite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] < 2:
        raise ValueError(f"{name}: expected shape (n, K) with K >= 2, got {array.shape}")
    _require_numbers(name, array, infinite=infinite)
    return array


def probability_matrix(name: str, values: ArrayLike) -> FloatArray:
    """Returns probabilities as float64, shape (n, K), clipped to [0, 1].

    Float noise is forgiven: 1e-6 outside the range, 1e-3 in a row's sum.

    Raises:
        ValueError: if a number is outside [0, 1] or a row doesn't sum to 1.
    """
    array = float_matrix(name, values)
    array = _unit_interval(name, array)
    if len(array):
        sums = array.sum(axis=1)
        worst = int(np.abs(sums - 1).argmax())
        if abs(sums[worst] - 1) > _SUM_TOLERANCE:
            raise ValueError(
                f"{name}: expected rows that sum to 1, got {sums[worst]} in row {worst}"
            )
    return array


def probability_vector(name: str, values: ArrayLike) -> FloatArray:
    """Returns probabilities as float64, shape (n,), clipped to [0, 1].

    Raises:
        ValueError: if a number is outside [0, 1] by more than 1e-6.
    """
    return _unit_interval(name, float_vector(name, values))


def class_indices(
    name: str, values: ArrayLike, classes: int, *, what: str = "class indices"
) -> IntArray:
    """Returns class (or other) indices as int64, shape (n,).

    Raises:
        ValueError: if they are no integers in 0..classes-1.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected shape (n,), got {array.shape}")
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "biu":
        raise ValueError(f"{name}: expected {what} of an integer type, got {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{name}: expected {what} in 0..{classes - 1}, got {low}..{high}")
    return array.astype(np.int64)


def flags(name: str, values: ArrayLike) -> BoolArray:
    """Returns yes-or-no values as bool, shape (n,).

    Raises:
        ValueError: if a value is neither bool nor 0 nor 1.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected shape (n,), got {array.shape}")
    if array.dtype.kind != "b" and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name}: expected bool or 0 and 1, got {np.unique(array)[:5].tolist()}")
    return array.astype(np.bool_)


def require_same_length(**arrays: NDArray[np.generic]) -> int:
    """Returns the common number of rows.

    Raises:
        ValueError: if the arrays have different numbers of rows.
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{' and '.join(lengths)}: expected equally many rows, got {lengths}")
    return next(iter(lengths.values()))


def _require_numbers(name: str, array: FloatArray, *, infinite: bool) -> None:
    bad = np.isnan(array) if infinite else ~np.isfinite(array)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        expected = "numbers" if infinite else "finite numbers"
        raise ValueError(f"{name}: expected {expected}, got {array[where]} at {list(where)}")


def _unit_interval(name: str, array: FloatArray) -> FloatArray:
    if array.size == 0:
        return array
    low, high = float(array.min()), float(array.max())
    if low < -_RANGE_TOLERANCE or high > 1 + _RANGE_TOLERANCE:
        raise ValueError(f"{name}: expected probabilities in [0, 1], got {low}..{high}")
    return array.clip(0, 1) if low < 0 or high > 1 else array
