"""Columns of targets: what their values are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.task import Modality, Target

DISTINCT_AT_MOST = 20
"""Numbers of more distinct values than this are a regression target, in a table."""


def guess_kind(target: Target, columns: Mapping[str, Any]) -> str:
    """Returns the kind of task that target columns ask for where nobody says which.

    A class, where classes are declared or known, where values are no numbers, and where they are
    whole numbers of at most 20 distinct values; whole numbers beside images and texts are always
    classes. Else a number.
    """
    if target.known or target.classes is not None:
        return "classification"
    distinct: set[Any] = set()
    for column in columns.values():
        if not is_number(column.type):
            return "classification"
        if not are_whole(column):
            return "regression"
        if target.modality is Modality.TABLE and len(distinct) <= DISTINCT_AT_MOST:
            distinct |= set(pc.unique(column).to_pylist())
    return "regression" if len(distinct) > DISTINCT_AT_MOST else "classification"


def shown_rows(bad: NDArray[np.bool_], most: int = 3) -> str:
    """Returns the first few rows of a mask in words."""
    rows = np.flatnonzero(bad)[: most + 1].tolist()
    shown = ", ".join(map(str, rows[:most])) + (", ..." if len(rows) > most else "")
    return f"row{'s' if len(rows) > 1 else ''} {shown}, counted from 0"


def is_number(kind: Any) -> bool:
    """Whether an Arrow type is one of whole or floating-point numbers."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def are_whole(column: Any) -> bool:
    """Whether all numbers of an Arrow array are whole, and exact as floats."""
    if pa.types.is_integer(column.type):
        return True
    values = column.to_numpy()
    return bool((np.floor(values) == values).all() and (np.abs(values) < 2**53).all())
