"""What the columns of a table hold: spread, range, whole numbers, flags and categories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.records import Records
from crucibench_suites.shift.input_statistics import MISSING
from crucibench_suites.shift.sides import INPUT

MOST_OTHERS = 20
"""A value is swapped for one of at most so many others."""


class Facts(NamedTuple):
    """What is known of the columns, in the order of their names, each shape (columns,).

    Attributes:
        low: the least number seen; NaN in a column of categories.
        high: the largest.
        spread: the standard deviation, 0 where there is none.
        whole: whether all numbers seen are whole.
        flag: whether all numbers seen are 0 or 1.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]
    whole: NDArray[np.bool_]
    flag: NDArray[np.bool_]


def read_facts(records: Records) -> Facts:
    """Returns what recorded inputs say of the columns."""
    return facts_of([records.array(name) for name in input_names(records.table.column_names)])


def facts_of(columns: Iterable[NDArray[Any]]) -> Facts:
    """Returns the facts of columns: float64 are numbers, other dtypes codes of categories."""
    rows = []
    for values in columns:
        seen = values[np.isfinite(values)] if values.dtype.kind == "f" else np.zeros(0)
        if not len(seen):
            rows.append((np.nan, np.nan, 0.0, False, False))
            continue
        # Squares of the largest floats are too large for one; such a column has no spread.
        with np.errstate(over="ignore", invalid="ignore"):
            spread = float(seen.std())
        whole = bool((seen == np.floor(seen)).all())
        flag = whole and seen.min() >= 0 and seen.max() <= 1
        rows.append((seen.min(), seen.max(), spread if np.isfinite(spread) else 0.0, whole, flag))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Facts(
        table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool), table[:, 4].astype(bool)
    )


def input_names(names: Sequence[str]) -> list[str]:
    """Returns the records' columns that hold inputs, in the order of the columns' own names."""
    return sorted(name for name in names if name.startswith(INPUT))


def others(codes: NDArray[np.int64]) -> NDArray[np.int32]:
    """Returns for each sample rows that hold other categories, one each, in turn.

    Args:
        codes: of categories, shape (n,); `MISSING` where there is none.

    Returns:
        Row numbers, shape (n, at most `MOST_OTHERS`); no columns where there is one category; -1
        for samples without one.
    """
    known = np.flatnonzero(codes != MISSING)
    values, first = np.unique(codes[known], return_index=True)
    width = min(MOST_OTHERS, max(0, len(values) - 1))
    found = np.full((len(codes), width), MISSING, dtype=np.int32)
    if width:
        at = np.searchsorted(values, codes[known])
        turned = (at[:, None] + np.arange(1, width + 1)) % len(values)
        found[known] = known[first][turned]
    return found


def is_number(series: pd.Series[Any]) -> bool:
    """Whether a column holds numbers, truth values apart."""
    return pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(
        series.dtype
    )


def is_name(series: pd.Series[Any]) -> bool:
    """Whether a column holds texts or categories."""
    kind = series.dtype
    return isinstance(kind, pd.CategoricalDtype | pd.StringDtype) or kind == np.dtype(object)


def carried(facts: Facts, n: int) -> Mapping[str, NDArray[Any]]:
    """Returns facts as arrays of a row a sample."""
    return {
        name: np.broadcast_to(values, (n, len(values))).copy()
        for name, values in facts._asdict().items()
    }


def uncarried(carry: Mapping[str, NDArray[Any]]) -> Facts:
    """The inverse of `carried`, of one sample or more."""
    return Facts(*(np.asarray(carry[name][0]) for name in Facts._fields))
