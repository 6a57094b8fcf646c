"""Gaps: missing values in the columns of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


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


def half_empty(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a table in which every column has gaps: in one row of two, and the next column in
    the others.
    """
    rows = np.arange(len(frame))
    columns = {name: blank(frame[name], (rows + at) % 2 == 0) for at, name in enumerate(frame)}
    return pd.DataFrame(columns, index=frame.index)


def emptied(frame: pd.DataFrame) -> pd.DataFrame:
    """Returns a table without any value."""
    gone = np.ones(len(frame), dtype=np.bool_)
    return pd.DataFrame({name: blank(frame[name], gone) for name in frame}, index=frame.index)
