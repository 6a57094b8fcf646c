"""Confusion matrices; of many classes the most frequent confusions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.section import Block, Section
from crucibench.report.format import show_plain
from crucibench.report.page import HeatCell, Matrix, PlainTable, Text
from crucibench.report.sections.evidence import PageEvidence, PageSection
from crucibench.report.sections.stored import (
    MOST_ROWS,
    OPEN_ROWS,
    Stored,
    download,
    stored_tables,
    text_of,
)

_MOST_CLASSES = 30
_OPEN_MATRICES = 3


class ConfusionMatrix(PageSection):
    """Draws a confusion matrix a cell."""

    name = "matrix"

    def draw(self, section: Section, evidence: PageEvidence) -> list[Block]:
        blocks: list[Block] = []
        found = stored_tables(section, evidence)
        for stored in found:
            names, columns, counts = _counts(stored.frame, section)
            if len(columns) > _MOST_CLASSES:
                blocks.append(_confusions(section, stored, names, columns, counts))
                continue
            totals = counts.sum(axis=1)
            rows = []
            for name, row, total in zip(names, counts, totals, strict=True):
                shares = 100.0 * row / total if total else np.zeros(len(row))
                cells = [
                    HeatCell(text=show_plain(float(value)), share=round(float(share), 1),
                             diagonal=column == name)
                    for value, share, column in zip(row, shares, columns, strict=True)
                ]  # fmt: skip
                rows.append((name, cells, show_plain(float(total))))
            blocks.append(
                Matrix(
                    caption=f"{section.title}: rows are true classes, columns predicted ones",
                    head=stored.head,
                    columns=columns,
                    rows=rows,
                    data=download(section, stored),
                    folded=len(found) > _OPEN_MATRICES or len(columns) > OPEN_ROWS,
                )
            )
        return blocks


def _counts(
    frame: pd.DataFrame, section: Section
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Reads a matrix: wide (a column of names, then one a class) or long (row, column, count)."""
    row, column = section.x, section.y
    if row in frame.columns and column in frame.columns:
        value = next(
            name
            for name in frame.columns
            if name not in {row, column} and pd.api.types.is_numeric_dtype(frame[name])
        )
        wide = frame.pivot_table(
            index=row, columns=column, values=value, aggfunc="sum", fill_value=0, sort=False
        )
        classes = list(dict.fromkeys([*wide.index, *wide.columns]))
        wide = wide.reindex(index=classes, columns=classes, fill_value=0)
        names = [str(name) for name in classes]
        return names, names, wide.to_numpy(dtype=np.float64)
    label = row if row in frame.columns else frame.columns[0]
    rest = [name for name in frame.columns if name != label]
    return (
        [str(name) for name in frame[label]],
        [str(name) for name in rest],
        frame[rest].to_numpy(dtype=np.float64),
    )


def _confusions(
    section: Section,
    stored: Stored,
    names: Sequence[str],
    columns: Sequence[str],
    counts: NDArray[np.float64],
) -> PlainTable:
    """Lists the most frequent confusions of a matrix that is too large to be shown."""
    pairs = [
        (-counts[row, column], row, column)
        for row, column in zip(*np.nonzero(counts), strict=True)
        if names[row] != columns[column]
    ]
    rows = [
        [Text(text=names[row]), Text(text=columns[column]), text_of(-count)]
        for count, row, column in sorted(pairs)[:MOST_ROWS]
    ]
    heads = [Text(text="true"), Text(text="predicted"), Text(text="samples", numeric=True)]
    return PlainTable(
        caption=f"{section.title}: the most frequent confusions of {len(columns)} classes",
        head=stored.head,
        columns=heads,
        rows=rows,
        total=len(pairs),
        data=download(section, stored),
        folded=True,
    )
