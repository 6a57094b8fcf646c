"""The stored tables of a section: found, split into parts, as text, and offered as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.section import Section, SectionCell
from crucibench.report.csv_text import embedded
from crucibench.report.format import listed, show_plain
from crucibench.report.page import Download, ModelHead, Text
from crucibench.report.sections.evidence import MissingColumnsError, PageEvidence
from crucibench.store.layout import slug

MOST_ROWS = 60
"""How many rows of a table are shown; its download has more."""

OPEN_ROWS = 14
"""Tables with more rows are folded."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One cell's table, or the part of it that one line or panel shows.

    Attributes:
        cell: the cell.
        frame: its table.
        head: the model's.
        key: no other part of the page has it.
        extra: what distinguishes it from others of its model: the scenario, values of text columns.
        within: the same, without the scenario.
    """

    cell: SectionCell
    frame: pd.DataFrame
    head: ModelHead
    key: str
    extra: str = ""
    within: str = ""


def stored_tables(section: Section, evidence: PageEvidence, *needed: str) -> list[Stored]:
    """Returns the section's table of each cell that ended well and has one.

    Raises:
        MissingColumnsError: if a table lacks one of the `needed` columns.
    """
    several = len({cell.scenario for cell in evidence.cells(section.scenario)}) > 1
    found = []
    for cell, frame in evidence.tables(section):
        missing = set(needed) - set(frame.columns)
        if missing:
            raise MissingColumnsError(
                f"The table {section.table!r} has no column {listed(sorted(missing))}."
            )
        extra = cell.scenario if several else ""
        key = evidence.anchors("plot", cell.id, section.table, section.title)
        head = evidence.head(cell.model, cell.verdict, extra)
        found.append(Stored(cell=cell, frame=frame, head=head, key=key, extra=extra))
    return found


def split_by_text(stored: Stored, evidence: PageEvidence) -> list[Stored]:
    """Splits a table by its text columns: each combination is a line or panel of its own."""
    frame = stored.frame
    keys = [
        name for name in frame.columns
        if not pd.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()
    ]  # fmt: skip
    if not keys:
        return [stored]
    parts = []
    for values, part in frame.groupby([frame[key].fillna("") for key in keys], sort=False):
        within = " ".join(str(value) for value in values if str(value))
        extra = f"{stored.extra} {within}".strip()
        parts.append(
            Stored(
                cell=stored.cell,
                frame=part,
                head=evidence.head(stored.cell.model, stored.cell.verdict, extra),
                key=evidence.anchors("part", stored.key, *(str(value) for value in values)),
                extra=extra,
                within=within,
            )
        )
    return parts


def download(section: Section, stored: Stored) -> Download:
    """Returns a table as a file to keep."""
    columns = [str(name) for name in stored.frame.columns]
    rows = stored.frame.head(5000).itertuples(index=False, name=None)
    name = file_name(stored.cell.id, section.table or "table")
    return Download(href=embedded(columns, rows), name=name)


def file_name(*parts: str) -> str:
    """Returns a file name made of these parts."""
    return "-".join(slug(part) for part in parts if part) + ".csv"


def text_of(value: Any) -> Text:
    """Returns a value as text."""
    if isinstance(value, bool | np.bool_):
        return Text(text="yes" if value else "no")
    if isinstance(value, int | float | np.number):
        return Text(text=show_plain(float(value)), numeric=True)
    return Text(text="" if value is None else str(value))


def words(name: str) -> str:
    """Returns the name of a column as words."""
    return name.replace("_", " ")
