"""Argument checks that several files of this package share.

Every message names the argument, what was expected and what came.
"""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray


def level(value: float, name: str = "level") -> float:
    """Return a confidence level (or other open probability) that lies in (0, 1)."""
    number = float(value)
    if not 0.0 < number < 1.0:
        raise ValueError(f"{name}: expected a number strictly between 0 and 1, got {value!r}")
    return number


def count(name: str, value: SupportsIndex, minimum: int = 0) -> int:
    """Return an integer that is at least ``minimum``."""
    try:
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name}: expected an integer, got {value!r}") from None
    if number < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {number}")
    return number


def finite(name: str, value: float) -> float:
    """Return a float that is neither nan nor infinite."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {value!r}")
    return number


def vector(name: str, values: ArrayLike, *, allow_infinite: bool = False) -> NDArray[np.float64]:
    """Return a one-dimensional float64 array without nan.

    Raises:
        ValueError: Another number of dimensions, a nan, or an infinity that is not allowed.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    array = array.astype(np.float64, copy=False)
    if array.ndim != 1:
        raise ValueError(f"{name}: expected one dimension, got shape {array.shape}")
    bad = np.isnan(array) if allow_infinite else ~np.isfinite(array)
    if bad.any():
        what = "nan" if allow_infinite else "nan or infinite"
        raise ValueError(
            f"{name}: expected no {what} value, got {int(bad.sum())}, "
            f"the first at position {int(np.argmax(bad))}"
        )
    return array


def binary_labels(name: str, values: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Return ``n`` labels as booleans; accepts booleans or the numbers 0 and 1."""
    array: NDArray[Any] = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), got {array.shape}")
    if array.dtype != np.bool_:
        if array.dtype.kind not in "iuf" or not np.isin(array, (0, 1)).all():
            raise ValueError(f"{name}: expected booleans or 0 and 1, got other values")
        array = array.astype(np.bool_)
    return array


def codes(name: str, values: ArrayLike, n: int) -> tuple[NDArray[np.intp], int]:
    """Return ``n`` codes renumbered 0 to k-1 in sorted order, and k.

    Floats are refused: a nan among them would be a code of its own, silently.
    """
    array: NDArray[Any] = np.asarray(values)
    if array.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},), got {array.shape}")
    if array.dtype.kind not in "biuU":
        raise ValueError(f"{name}: expected integer or string codes, got dtype {array.dtype}")
    if n and array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 2 * n:
        array = array.astype(np.intp, copy=False)
        place = np.cumsum(np.bincount(array) > 0) - 1  # in a fifth of a sort's time
        if place[-1] == len(place) - 1:  # each code occurs: the array is what it would become
            return array, len(place)
        return place[array], int(place[-1]) + 1
    unique, inverse = np.unique(array, return_inverse=True)
    return inverse.astype(np.intp, copy=False), int(unique.size)
