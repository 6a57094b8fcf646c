"""Stored tables as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.section import Block, Section
from crucibench.report.format import show_number
from crucibench.report.page import PlainTable, Text
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import (
    MOST_ROWS,
    OPEN_ROWS,
    Stored,
    download,
    stored_tables,
    text_of,
    words,
)


class StoredTable(PageSection):
    """Draws a table a cell; cells whose tables are the same share one."""

    name = "table"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        found = _merged(stored_tables(section, evidence))
        return [
            PlainTable(
                caption=section.title,
                head=stored.head,
                columns=[
                    _column_head(stored.frame, name, evidence) for name in _shown(stored.frame)
                ],
                rows=[
                    [_value(row, name, evidence) for name in _shown(stored.frame)]
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


def _column_head(frame: pd.DataFrame, name: str, evidence: PageEvidence) -> Text:
    numeric = pd.api.types.is_numeric_dtype(frame[name])
    metric = evidence.metrics.get((evidence.suite, name))
    if metric is None:
        return Text(text=words(name), numeric=numeric)
    unit = f" [{metric.shown_unit}]" if metric.shown_unit else ""
    return Text(text=f"{metric.name}{unit}", numeric=numeric, href=evidence.href(metric))


def _value(row: Mapping[Any, Any], name: str, evidence: PageEvidence) -> Text:
    value = row[name]
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return text_of(value)
    metric = evidence.metrics.get((evidence.suite, name))
    ends: list[Any] = [row.get(f"{name}_{end}") for end in ("lower", "upper")]
    interval = (None, None) if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    if math.isnan(value) or (metric is None and interval[0] is None):
        return text_of(value)
    percent = metric is not None and metric.percent
    return Text(text=str(show_number(float(value), *interval, percent=percent)), numeric=True)
