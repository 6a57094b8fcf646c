"""The stored tables of a section: found, split into parts, and offered as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from crucibench.contracts.verdict import Status
from crucibench.report.csv_text import embedded
from crucibench.report.format import listed
from crucibench.report.page import Download, Message, ModelHead
from crucibench.report.sections.sources import Sources
from crucibench.store.layout import slug

if TYPE_CHECKING:
    from crucibench.store.cells import CellFile


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One cell's table, or the part of it that one line or panel shows.

    Attributes:
        cell: the cell.
        frame: its table.
        head: the model's.
        key: no other part of the page has it.
        extra: what tells it from others of its model: the scenario, values of text columns.
        within: the same, without the scenario.
    """

    cell: CellFile
    frame: pd.DataFrame
    head: ModelHead
    key: str
    extra: str = ""
    within: str = ""


def stored_tables(section: Mapping[str, Any], sources: Sources) -> list[Stored]:
    """Returns the section's table of each cell that ended well and has one."""
    several = len({cell.scenario for cell in sources.cells(section.get("scenario") or "")}) > 1
    found = []
    for cell in sources.cells(section.get("scenario") or ""):
        if cell.status is not Status.OK:
            continue
        frame = sources.run.table(cell.cell, section.get("table") or "")
        if frame is None or not len(frame):
            continue
        extra = cell.scenario if several else ""
        key = sources.anchors("plot", cell.cell, section.get("table") or "", section["title"])
        head = sources.head(cell.model, cell.verdict, extra)
        found.append(Stored(cell=cell, frame=frame, head=head, key=key, extra=extra))
    return found


def split_by_text(stored: Stored, sources: Sources) -> list[Stored]:
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
                head=sources.head(stored.cell.model, stored.cell.verdict, extra),
                key=sources.anchors("part", stored.key, *(str(value) for value in values)),
                extra=extra,
                within=within,
            )
        )
    return parts


def lacking(section: Mapping[str, Any], missing: set[str]) -> Message:
    """Says which columns a table lacks."""
    return Message(
        text=f"The table {section.get('table')!r} has no column {listed(sorted(missing))}."
    )


def download(section: Mapping[str, Any], stored: Stored) -> Download:
    """Returns a table as a file to keep."""
    columns = [str(name) for name in stored.frame.columns]
    rows = stored.frame.head(5000).itertuples(index=False, name=None)
    name = file_name(stored.cell.cell, section.get("table") or "table")
    return Download(href=embedded(columns, rows), name=name)


def file_name(*parts: str) -> str:
    """Returns a file name made of these parts."""
    return "-".join(slug(part) for part in parts if part) + ".csv"
