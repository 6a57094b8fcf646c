"""Stored tables as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from crucibench.report.format import show_number
from crucibench.report.page import Block, PlainTable, Text
from crucibench.report.sections.plain import MOST_ROWS, OPEN_ROWS, text_of, words
from crucibench.report.sections.sources import Sources
from crucibench.report.sections.stored import Stored, download, stored_tables


def draw_table(section: Mapping[str, Any], sources: Sources) -> list[Block]:
    """Draws a table a cell; cells whose tables are the same share one."""
    found = _merged(stored_tables(section, sources))
    return [
        PlainTable(
            caption=section["title"],
            head=stored.head,
            columns=[_column_head(stored.frame, name, sources) for name in _shown(stored.frame)],
            rows=[
                [_value(row, name, sources) for name in _shown(stored.frame)]
                for row in stored.frame.head(MOST_ROWS).to_dict("records")
            ],
            total=len(stored.frame),
            data=download(section, stored),
            folded=len(found) > 1 or len(stored.frame) > OPEN_ROWS,
        )
        for stored in found
    ]


def _merged(found: Sequence[Stored]) -> list[Stored]:
    kept: list[Stored] = []
    for stored in found:
        for place, other in enumerate(kept):
            if stored.extra == other.extra and stored.frame.equals(other.frame):
                names = f"{other.head.name}, {stored.head.name}"
                kept[place] = replace(other, head=replace(other.head, name=names, colour=None))
                break
        else:
            kept.append(stored)
    return kept


def _shown(frame: pd.DataFrame) -> list[str]:
    """Leaves out ``NAME_lower`` and ``NAME_upper``: they stand with ``NAME``."""
    names = [str(name) for name in frame.columns]
    ends = {f"{name}_{end}" for name in names for end in ("lower", "upper")}
    return [name for name in names if name not in ends]


def _column_head(frame: pd.DataFrame, name: str, sources: Sources) -> Text:
    numeric = pd.api.types.is_numeric_dtype(frame[name])
    metric = sources.metrics.get((sources.suite, name))
    if metric is None:
        return Text(text=words(name), numeric=numeric)
    unit = f" [{metric.shown_unit}]" if metric.shown_unit else ""
    return Text(text=f"{metric.name}{unit}", numeric=numeric, href=sources.href(metric))


def _value(row: Mapping[Any, Any], name: str, sources: Sources) -> Text:
    value = row[name]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return text_of(value)
    metric = sources.metrics.get((sources.suite, name))
    ends: list[Any] = [row.get(f"{name}_{end}") for end in ("lower", "upper")]
    interval = (None, None) if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    if math.isnan(value) or (metric is None and interval[0] is None):
        return text_of(value)
    percent = metric is not None and metric.percent
    return Text(text=str(show_number(float(value), *interval, percent=percent)), numeric=True)
