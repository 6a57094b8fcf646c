"""What the columns of a table hold: range, spread, whole numbers, flags, and which are numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

INPUT = "input:"
"""What the names of records begin with that hold a table's own values.

Who publishes a run leaves these out unless asked for them.
"""

STATISTIC = "statistic:"
"""What the names of records begin with that hold a statistic of an image or a text."""

MISSING = -1
"""The code of a missing category; those of others are not negative."""


class ColumnFacts(NamedTuple):
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


@dataclass(frozen=True)
class KnownColumns:
    """What a corruption may know of a table beside the rows at hand.

    Attributes:
        names: of all columns, sorted.
        facts: of the columns, in that order, from the training set where there is one.
        protect: columns that must be left alone.
        others: column to rows of the role that hold other categories, (n, k); -1 where none.
    """

    names: tuple[str, ...]
    facts: ColumnFacts
    protect: Collection[str] = ()
    others: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    def of(self, name: str) -> tuple[float, float, float, bool, bool]:
        """Returns low, high, spread, whole and flag of a column."""
        at = self.names.index(name)
        low, high, spread, whole, flag = (values[at] for values in self.facts)
        return float(low), float(high), float(spread), bool(whole), bool(flag)


def facts_of(columns: Iterable[NDArray[Any]]) -> ColumnFacts:
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
    return ColumnFacts(
        table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool), table[:, 4].astype(bool)
    )


def carried(facts: ColumnFacts, n: int) -> Mapping[str, NDArray[Any]]:
    """Returns facts as arrays of a row a sample: what a stage's `Selection` carries."""
    return {
        name: np.broadcast_to(values, (n, len(values))).copy()
        for name, values in facts._asdict().items()
    }


def uncarried(carry: Mapping[str, NDArray[Any]]) -> ColumnFacts:
    """The inverse of `carried`, of one sample or more."""
    return ColumnFacts(*(np.asarray(carry[name][0]) for name in ColumnFacts._fields))


def is_number(series: pd.Series[Any]) -> bool:
    """Whether a column holds numbers, truth values apart."""
    return pd.api.types.is_numeric_dtype(series.dtype) and not pd.api.types.is_bool_dtype(
        series.dtype
    )


def is_name(series: pd.Series[Any]) -> bool:
    """Whether a column holds texts or categories."""
    kind = series.dtype
    return isinstance(kind, pd.CategoricalDtype | pd.StringDtype) or kind == np.dtype(object)
