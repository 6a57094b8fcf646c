"""Other values for a column, in its own type: noise, unit errors, gaps, unseen categories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

UNSEEN = "(unseen)"

_EXACT = 2**53
"""Beyond it a float64 is not the integer that it stands for: such integers are left alone."""


def noisy(
    column: pd.Series[Any], shifts: NDArray[np.float64], low: float, high: float, *, whole: bool
) -> pd.Series[Any]:
    """Returns numbers moved by `shifts`, within [low, high] and in the column's own type.

    What lay outside the range stays on its side of it. Whole numbers move by whole numbers, cut
    towards 0, so that none moves further than drawn. Missing ones stay missing.
    """
    numbers = _numbers(column)
    integer = pd.api.types.is_integer_dtype(column.dtype)
    moves = np.trunc(shifts) if whole or integer else shifts
    moved = np.clip(numbers + moves, np.fmin(low, numbers), np.fmax(high, numbers))
    where = np.isfinite(numbers) & (moves != 0)
    return _like(column, moved, where & (np.abs(moved) <= _EXACT) if integer else where)


def multiplied(column: pd.Series[Any], hit: NDArray[np.bool_], factor: int) -> pd.Series[Any]:
    """Returns numbers, those that are hit times `factor`, where the column's type can hold that."""
    numbers = _numbers(column)
    with np.errstate(over="ignore"):
        made = numbers * factor
    kind = column.dtype
    if pd.api.types.is_integer_dtype(kind):
        bounds = np.iinfo(getattr(kind, "numpy_dtype", kind))
        fits = (made >= max(bounds.min, -_EXACT)) & (made <= min(bounds.max, _EXACT))
    else:
        fits = np.abs(made) <= float(np.finfo(getattr(kind, "numpy_dtype", kind)).max)
    return _like(column, made, hit & fits)


def blank(column: pd.Series[Any], hit: NDArray[np.bool_]) -> pd.Series[Any]:
    """Returns a column with gaps, in the type that it has where it comes with gaps.

    Integers become floats and truth values objects, hit or not, as pandas reads them from a file
    with gaps: the type depends on the column, not on the rows at hand. Types that know missing
    values stay as they are.
    """
    kind = column.dtype
    if isinstance(kind, np.dtype) and kind.kind in "iu":
        column = column.astype(np.float64)
    elif isinstance(kind, np.dtype) and kind.kind == "b":
        column = column.astype(object)
    return column.mask(hit)


def unseen(column: pd.Series[Any], hit: NDArray[np.bool_]) -> pd.Series[Any]:
    """Returns texts or categories with a value that stands nowhere else in place of some."""
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return column.mask(hit, UNSEEN)
    categories = column.dtype.categories.tolist()
    name: Any = UNSEEN
    if categories and all(type(value) in (int, float) for value in categories):
        name = max(categories) + 1
    while name in categories:
        name = f"{name}_"
    return column.cat.add_categories([name]).mask(hit, name)


def _numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def _like(
    column: pd.Series[Any], values: NDArray[np.float64], where: NDArray[np.bool_]
) -> pd.Series[Any]:
    """Returns a column with other numbers in some places, its type and all else as they were."""
    if not where.any():
        return column.copy()
    made = column.copy()
    other = pd.Series(np.where(where, values, 0.0), index=column.index)
    made[where] = other[where].astype(column.dtype)
    return made
