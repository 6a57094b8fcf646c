"""Bars: models side by side in each category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from crucibench.contracts.section import Block, Section
from crucibench.report import marks
from crucibench.report.csv_text import embedded
from crucibench.report.format import show_number, show_plain
from crucibench.report.page import BarTable, Download
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import (
    file_name,
    stored_tables,
    text_of,
    words,
)


class Bars(PageSection):
    """Draws one table of bars, the cells side by side."""

    name = "bars"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        x, y = section.x or "x", section.y or "y"
        parts = stored_tables(section, evidence, x, y)
        if not parts:
            return []
        ends = [
            float(value)
            for part in parts
            for name in (y, "lower", "upper")
            if name in part.frame.columns
            for value in part.frame[name]
        ]
        scale = marks.scale_of(ends, include=[0.0])
        categories = dict.fromkeys(name for part in parts for name in part.frame[x])
        values = [{row[x]: row for row in part.frame.to_dict("records")} for part in parts]
        rows = [
            (
                text_of(category).text,
                [
                    _bar(own.get(category), y, scale, part.head.colour or 0)
                    for own, part in zip(values, parts, strict=True)
                ],
            )
            for category in categories
        ]
        names = ["model", *(str(name) for name in parts[0].frame.columns)]
        lines = [
            [f"{part.cell.model} {part.extra}".strip(), *row]
            for part in parts
            for row in part.frame.itertuples(index=False, name=None)
        ]
        return [
            BarTable(
                caption=f"{section.title}: {words(y)} by {words(x)}",
                label=words(x),
                heads=[part.head for part in parts],
                rows=rows,
                data=Download(
                    href=embedded(names, lines),
                    name=file_name(evidence.data, section.title),
                ),
            )
        ]


def _bar(
    row: Mapping[Any, Any] | None, y: str, scale: marks.Scale | None, colour: int
) -> tuple[str, Markup]:
    if row is None or pd.isna(row[y]):
        return "", Markup()
    ends: list[Any] = [row.get("lower"), row.get("upper")]
    interval = None if pd.isna(ends).any() else (float(ends[0]), float(ends[1]))
    text = str(show_number(float(row[y]), *interval)) if interval else show_plain(float(row[y]))
    if scale is None:
        return text, Markup()
    return text, marks.bar(scale, float(row[y]), interval, colour)
