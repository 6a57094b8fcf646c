"""What a table's columns of numbers hold: the scenario that records them, and what it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.scenario import MapContext, Mapped, Work

_INPUT = "input:"


class Facts(NamedTuple):
    """What is known of a column of numbers: least, greatest, spread, and whether all are whole."""

    low: float
    high: float
    spread: float
    whole: bool


@dataclass(frozen=True, kw_only=True)
class ColumnNumbers(Mapped):
    """Records the numbers of a table; it asks the model nothing."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()

    @classmethod
    def of(cls, suite: str, role: str, limit: int | None = None) -> ColumnNumbers:
        """Returns the scenario of a role, of at most `limit` samples."""
        return cls(suite=suite, name=f"inputs/{role.rpartition('/')[2]}", role=role, limit=limit)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample: float64, NaN where a number is missing."""
        inputs, columns = work.batch.inputs, {}
        most = np.finfo(np.float64).max
        for name in numbers_of(inputs):
            values = inputs[name].to_numpy(dtype=np.float64, na_value=np.nan)
            columns[f"{_INPUT}{name}"] = np.clip(values, -most, most)
        return {"id": list(work.batch.ids), "point": "", **columns}


def numbers_of(inputs: pd.DataFrame) -> list[str]:
    """Returns the columns of numbers, truth values apart, sorted by name."""
    return sorted(
        name
        for name in inputs.columns
        if pd.api.types.is_numeric_dtype(inputs[name].dtype)
        and not pd.api.types.is_bool_dtype(inputs[name].dtype)
    )


def carried_facts(records: Records, n: int) -> Mapping[str, NDArray[Any]]:
    """Returns the facts of recorded columns as an array of n equal rows, one fact after another."""
    rows = []
    for name in sorted(name for name in records.table.column_names if name.startswith(_INPUT)):
        values = records.array(name)
        seen = values[np.isfinite(values)]
        if not len(seen):
            rows.append((np.nan, np.nan, 0.0, 0.0))
            continue
        # Squares of the largest floats are too large for one; such a column has no spread.
        with np.errstate(over="ignore", invalid="ignore"):
            spread = float(seen.std())
        whole = bool((seen == np.floor(seen)).all())
        rows.append((seen.min(), seen.max(), spread if np.isfinite(spread) else 0.0, whole))
    flat = np.array(rows, dtype=np.float64).ravel()
    return {"facts": np.broadcast_to(flat, (n, len(flat))).copy()}


def facts_of(work: Work) -> dict[str, Facts]:
    """Returns what is known of the columns of numbers, by name."""
    if not len(work.batch):
        return {}
    told = work.carry["facts"][0].reshape(-1, len(Facts._fields))
    return {
        name: Facts(float(low), float(high), float(spread), bool(whole))
        for name, (low, high, spread, whole) in zip(
            numbers_of(work.batch.inputs), told, strict=True
        )
        if np.isfinite(low)
    }
