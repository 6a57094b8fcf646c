"""Heat maps: a value by row and column, a grid a model."""

from __future__ import annotations

import pandas as pd

from crucibench.contracts.section import Block, Section
from crucibench.report import marks
from crucibench.report.csv_text import embedded
from crucibench.report.format import DASH, show_plain
from crucibench.report.page import Download, HeatCell, HeatGrid
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import (
    Stored,
    file_name,
    split_by_text,
    stored_tables,
    words,
)

_OPEN_GRIDS = 4


class Heat(PageSection):
    """Draws a grid a model: a row a scenario and text columns' values, a column a value of x."""

    name = "heat"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        x, y = section.x or "x", section.y or "y"
        by_model: dict[str, list[Stored]] = {}
        for stored in stored_tables(section, evidence, x, y):
            by_model.setdefault(stored.cell.model, []).extend(split_by_text(stored, evidence))
        parts = [part for found in by_model.values() for part in found]
        # A grid of one row says less than the numbers beside it.
        if len({_row_name(part) for part in parts}) < 2:
            return []
        scale = marks.scale_of(float(value) for part in parts for value in part.frame[y])
        places = sorted({float(value) for part in parts for value in part.frame[x].dropna()})
        return [
            _grid(section, evidence, found, scale, places, folded=len(by_model) > _OPEN_GRIDS)
            for found in by_model.values()
        ]


def _grid(
    section: Section,
    evidence: PageEvidence,
    found: list[Stored],
    scale: marks.Scale | None,
    places: list[float],
    *,
    folded: bool,
) -> HeatGrid:
    x, y = section.x or "x", section.y or "y"
    rows, lines = [], []
    for part in found:
        values = {
            float(at): float(value)
            for at, value in zip(part.frame[x], part.frame[y], strict=True)
            if not pd.isna(at)
        }
        rows.append((_row_name(part), [_cell(values.get(place), scale) for place in places]))
        lines += [[part.cell.scenario, part.within, *pair] for pair in values.items()]
    ends = "" if scale is None else (
        f"Shaded from {show_plain(float(f'{scale.low:.3g}'))} (faint) to "
        f"{show_plain(float(f'{scale.high:.3g}'))} (full), alike for all models."
    )  # fmt: skip
    return HeatGrid(
        caption=f"{section.title}: {words(y)}",
        head=evidence.head(found[0].cell.model, found[0].cell.verdict),
        label=words(y),
        across=words(x),
        ends=ends,
        columns=[show_plain(place) for place in places],
        rows=rows,
        data=Download(
            href=embedded(["scenario", "part", x, y], lines),
            name=file_name(evidence.data, section.title, found[0].cell.model),
        ),
        folded=folded,
    )


def _row_name(part: Stored) -> str:
    return f"{words(part.cell.scenario.rpartition('/')[2])} {part.within}".strip()


def _cell(value: float | None, scale: marks.Scale | None) -> HeatCell:
    if value is None or pd.isna(value):
        return HeatCell(text=DASH, share=0.0)
    share = 50.0 if scale is None else 100 * (value - scale.low) / (scale.high - scale.low)
    return HeatCell(text=f"{value:.2f}", share=round(share, 1))
