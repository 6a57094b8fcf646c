"""What a perturbation of tables learns of the columns before it begins, and carries along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.scenario import StageView
from crucibench_suites.shift.tables.columns import (
    carried,
    input_names,
    others,
    read_facts,
    uncarried,
)

__all__ = ["look", "others_of", "uncarried"]

_OTHERS = "others"


def look(view: StageView, *, categories: bool) -> Mapping[str, NDArray[Any]]:
    """Returns arrays of a row a sample: `columns.Facts`, and rows that hold other categories."""
    carry = dict(carried(read_facts(view.needs["spread"].records), len(view.samples)))
    if not categories:
        return carry
    records = (view.needs.get("inputs") or view.needs["spread"]).records
    rows = pd.Index(records.ids).get_indexer(pd.Index(view.samples.ids))
    for place, name in enumerate(input_names(records.table.column_names)):
        codes = records.array(name)
        if codes.dtype.kind == "i":
            carry[f"{_OTHERS}{place}"] = others(codes[rows])
    return carry


def others_of(carry: Mapping[str, NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Returns column to rows that hold other categories, for columns that have such.

    Args:
        carry: what `look` returned, of some samples.
        names: of all columns, in order.
    """
    found = {name: carry.get(f"{_OTHERS}{place}") for place, name in enumerate(names)}
    return {name: rows for name, rows in found.items() if rows is not None and rows.shape[1]}
