"""A board as a page shows it: texts, links and what tables are sorted by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from crucibench.contracts.rows import MetricRow
from crucibench.report.findings import VERDICT_MARKS
from crucibench.report.format import DASH, direction_words, show_count
from crucibench.report.leaderboard import Board, Column, Entry, Line, shown_metric
from crucibench.report.leaderboard_about import (
    SEED_HEADS,
    card_heads,
    card_rows,
    notes_on_rows,
    seed_rows,
)
from crucibench.report.leaderboard_ranks import (
    STANDING_HEADS,
    notes_on_ranks,
    rank_text,
    shows_ranks,
    standing_rows,
)
from crucibench.report.leaderboard_text import (
    column_title,
    entry_text,
    footnotes,
    sorting,
    writing,
)

NumberLink = Callable[[MetricRow], str]
ModelLink = Callable[[str], str]


class CellView(NamedTuple):
    """One place of a table.

    Attributes:
        value: the number, or a dash.
        interval: in brackets, or "".
        n: the denominator, or "".
        mark: of the verdict.
        verdict: ``valid``, ``suspect``, ``invalid``; "" without a number.
        why: why there is no number or no interval.
        href: where the number stands; "" for nowhere.
        sort: what the column is sorted by; "" sorts last.
    """

    value: str
    interval: str = ""
    n: str = ""
    mark: str = ""
    verdict: str = ""
    why: str = ""
    href: str = ""
    sort: str = ""


class HeadView(NamedTuple):
    """The head of a column."""

    axis: str
    title: str
    words: str


class LineView(NamedTuple):
    """One model of a board."""

    rank: str
    label: str
    href: str
    trained_on_test: bool
    retired: str
    cells: Sequence[CellView]


class TableView(NamedTuple):
    """A table of texts."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class BoardView:
    """A board."""

    data: str
    href: str
    heads: Sequence[HeadView]
    lines: Sequence[LineView]
    ranked: bool
    captions: Sequence[str]
    tables: Sequence[TableView]
    notes: Sequence[str]
    footnotes: Sequence[str]


def board_view(
    board: Board,
    *,
    href: str = "",
    number_link: NumberLink = lambda number: "",
    model_link: ModelLink = lambda model: "",
) -> BoardView:
    """Returns a board's view.

    Args:
        board: the board.
        href: the page of its data set.
        number_link: where a number stands.
        model_link: the page of a model.
    """
    tables = [
        TableView("Overall", STANDING_HEADS, standing_rows(board)),
        TableView("Between training seeds", SEED_HEADS, seed_rows(board)),
        TableView("Model cards", card_heads(board), card_rows(board)),
        TableView("Not comparable with the others of its column (†)", _APART, _apart(board)),
    ]
    return BoardView(
        data=board.data,
        href=href,
        heads=[head_view(column) for column in board.columns],
        lines=[_line(board, line, number_link, model_link) for line in board.lines],
        ranked=shows_ranks(board),
        captions=[text for text in (writing(board), sorting(board), _naming(board)) if text],
        tables=[table for table in tables if table.rows],
        notes=[*notes_on_ranks(board), *notes_on_rows(board)],
        footnotes=footnotes(board),
    )


def _naming(board: Board) -> str:
    if all(line.label == line.model for line in board.lines):
        return ""
    return (
        "A run stands beside a model's name where several runs measured models of that name that "
        "are not known to be the same."
    )


def head_view(column: Column) -> HeadView:
    """Returns a column's head."""
    return HeadView(column.axis, column_title(column), direction_words(column.metric.direction))


def cell_view(column: Column, entry: Entry, number_link: NumberLink) -> CellView:
    """Returns what stands in one place."""
    number = entry.number
    if number is None:
        return CellView(f"{DASH}†" if entry.apart else DASH, why="" if entry.apart else entry.why)
    mark, verdict = VERDICT_MARKS[number.verdict], str(number.verdict)
    href = number_link(number)
    if number.value is None:
        return CellView(DASH, mark=mark, verdict=verdict, why=number.reason, href=href)
    shown = shown_metric(column, number).show(number)
    return CellView(
        value=shown.value, interval=shown.interval, n=show_count(number.n), mark=mark,
        verdict=verdict, why="" if shown.lower else number.reason, href=href,
        sort=_sorted_by(number.value),
    )  # fmt: skip


def _sorted_by(value: float) -> str:
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return repr(value)


def _line(board: Board, line: Line, number_link: NumberLink, model_link: ModelLink) -> LineView:
    entries: Mapping[str, Entry] = line.entries
    return LineView(
        rank=rank_text(board, line.label),
        label=line.label,
        href=model_link(line.model),
        trained_on_test=bool(line.about.trained_on_test),
        retired=line.about.retired.kind if line.about.retired else "",
        cells=[cell_view(column, entries[column.place], number_link) for column in board.columns],
    )


_APART = ("model", "metric", "value", "why")


def _apart(board: Board) -> list[tuple[str, ...]]:
    return [
        (
            entry.label,
            entry.column.title,
            entry_text(entry.column, Entry(number=entry.number)),
            entry.reason,
        )
        for entry in board.apart
    ]
