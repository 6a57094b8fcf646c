"""Leaderboard and findings in the terminal; a rich Console obeys NO_COLOR by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING

from rich import box
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from crucibench.contracts.verdict import Severity, Verdict
from crucibench.report.findings import (
    IMPRECISE_MARK,
    IMPRECISE_WORDS,
    VERDICT_MARKS,
    FoundHere,
    findings_of,
    nothing_found,
)
from crucibench.report.format import DASH, counted, listed, show_level
from crucibench.report.leaderboard import Leaderboard
from crucibench.report.leaderboard.shown import ShownBoard, TextTable, reported_table, shown_board
from crucibench.report.numbers import ShownNumber
from crucibench.store.run import Run
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from rich.console import Console

_VERDICT_STYLES = {Verdict.VALID: "", Verdict.SUSPECT: "yellow", Verdict.INVALID: "red"}
_SEVERITY_STYLES = {Severity.INFO: "dim", Severity.SUSPECT: "yellow", Severity.INVALID: "red"}
_NAME = 40
_HEAD = 14
"""Letters of a line of a scorecard's heading."""

_MARK_WORDS = {
    VERDICT_MARKS[Verdict.SUSPECT]: "suspect",
    VERDICT_MARKS[Verdict.INVALID]: "invalid",
    IMPRECISE_MARK: IMPRECISE_WORDS,
}


def print_leaderboard(console: Console, leaderboard: Leaderboard) -> None:
    """Prints each board with its footnotes; then how the numbers are written, once."""
    rules: dict[str, None] = {}
    for board in map(shown_board, leaderboard.boards):
        _print_board(console, board)
        console.print()
        if board.columns:
            rules[board.writing] = None
    if (reported := reported_table(leaderboard.reported)).rows:
        console.print(_texts_table(reported))
    for text in rules:
        console.print(_plain(text, "dim"))


def print_scorecard(console: Console, leaderboard: Leaderboard) -> None:
    """Prints of each board one number an axis: the first of its headlines, for every model.

    Columns that the console has no room for are named below it; `print_leaderboard` has them all.
    """
    for each in leaderboard.boards:
        board = shown_board(each)
        places = _first_of_axes(board)
        if not places:
            _print_board(console, board)
            continue
        table, left = _scorecard(board, places), len(board.columns) - len(places)
        while len(places) > 1 and not _fits(table, console):
            places, left = places[:-1], left + 1
            table = _scorecard(board, places)
        console.print(table)
        marks = {mark for line in board.lines for place in places
                 for mark in (*line.cells[place].mark, *line.cells[place].value[:1])
                 if mark in _MARK_WORDS}  # fmt: skip
        legend = [f"{mark} {words}" for mark, words in _MARK_WORDS.items() if mark in marks]
        levels = " or ".join(map(show_level, each.levels))
        level = f"± is the longer half of the {levels} interval" if levels else ""
        more = f"{counted(left, 'more column')}: crucibench show --all" if left else ""
        console.print(_plain("; ".join(filter(None, (level, *legend, more))) + ".", "dim"))
        console.print()


def _first_of_axes(board: ShownBoard) -> list[int]:
    """Returns the place of the first column of each axis that has a number."""
    found: dict[str, int] = {}
    for place, column in enumerate(board.columns):
        if any(line.cells[place].value for line in board.lines):
            found.setdefault(column.axis, place)
    return list(found.values())


def _scorecard(board: ShownBoard, places: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=_name(board.data),
                  title_justify="left")  # fmt: skip
    table.add_column("model", overflow="fold")
    for place in places:
        table.add_column(_folded(board.columns[place].heading), justify="right", vertical="bottom")
    for line in board.lines:
        table.add_row(_name(line.name), *(_brief(line.cells[place]) for place in places))
    for name, cells in board.baselines:
        row = [_brief(cells[place]) for place in places]
        if any(cells[place].value for place in places):
            table.add_row(Text(shorten(visible(name), _NAME), style="dim"), *row, style="dim")
    return table


def _folded(heading: str) -> Text:
    """Returns a heading of short lines: the column is as wide as its numbers."""
    lines = wrap(visible(heading), _HEAD, break_long_words=False, break_on_hyphens=False)
    return Text("\n".join(lines))


def _brief(cell: ShownNumber) -> Text:
    """Returns a number with the longer half of its interval, to the digits of both."""
    text = cell.value or DASH
    ends = cell.interval.strip("[]").split(", ") if cell.interval else []
    if len(ends) == 2:
        value, lower, upper = (_as_number(part) for part in (cell.value, *ends))
        half = max(value - lower, upper - value)
        places = len(ends[0].partition(".")[2])
        text += f" ±{half:.{places}f}" if math.isfinite(half) else f" {cell.interval}"
    return Text(f"{text} {cell.mark}".rstrip(), style=_VERDICT_STYLES[cell.verdict])


def _as_number(text: str) -> float:
    plain = text.lstrip(IMPRECISE_MARK).replace("\N{MINUS SIGN}", "-").replace(",", "")
    try:
        return float(plain)
    except ValueError:
        return math.inf


def print_findings(console: Console, run: Run, *, notes: bool = True) -> None:
    """Prints what the audits found, the gravest first; `notes` includes findings of severity info.

    Prints one sentence where there is nothing; cells that were not audited are counted apart.
    """
    found = findings_to_read(run, notes=notes)
    if found:
        print_by_code(console, found)
    else:
        console.print(nothing_found(run.cells.values()))


def print_by_code(console: Console, found: Sequence[FoundHere]) -> None:
    """Prints each kind of finding once: where it was made, and its first sentence."""
    alike: dict[tuple[Severity, str], list[FoundHere]] = {}
    for entry in found:
        alike.setdefault((entry.severity, entry.code), []).append(entry)
    for (severity, code), entries in alike.items():
        head = Text(f"{severity}: {code}", style=_SEVERITY_STYLES[severity])
        models, data, where = (
            listed(dict.fromkeys(getattr(entry, name) for entry in entries), most=3)
            for name in ("model", "data", "scenario")
        )
        head.append(f"  {models} on {data}, {where}", style="dim")
        console.print(head)
        others = f" (and {counted(len(entries) - 1, 'finding')} alike)" if entries[1:] else ""
        console.print(Padding(_plain(f"{entries[0].message}{others}"), (0, 0, 0, 2)))


def findings_to_read(run: Run, *, notes: bool) -> list[FoundHere]:
    """Returns a run's findings, the gravest first; `notes` includes those of severity info."""
    return [entry for entry in findings_of(run) if notes or entry.severity is not Severity.INFO]


def board_tables(board: ShownBoard, console: Console) -> list[Table]:
    """Returns a board as one table; where the console is too narrow for it, as one or more an axis.

    A column stands whole in its table, unless it alone is too wide for the console.
    """
    places = range(len(board.columns))
    whole = _board_table(board, places)
    if _fits(whole, console):
        return [whole]
    tables: list[Table] = []
    for _, of_axis in groupby(places, key=lambda place: board.columns[place].axis):
        chosen: list[int] = []
        for place in of_axis:
            wider = [*chosen, place]
            if chosen and not _fits(_board_table(board, wider), console):
                tables.append(_board_table(board, chosen, titled=not tables))
                wider = [place]
            chosen = wider
        tables.append(_board_table(board, chosen, titled=not tables))
    return tables


def _fits(table: Table, console: Console) -> bool:
    endless = console.options.update(width=100_000)
    return Measurement.get(console, endless, table).maximum <= console.width


def _board_table(board: ShownBoard, places: Sequence[int], *, titled: bool = True) -> Table:
    """Returns the table of some columns, by their places."""
    title = _name(board.data) if titled else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    if board.ranked:
        table.add_column("rank", justify="right")
    table.add_column("model", overflow="fold", no_wrap=False)
    axis = ""
    for column in (board.columns[place] for place in places):
        head = Text(column.axis if column.axis != axis else "", style="dim")
        axis = column.axis
        head.append("\n")
        head.append(visible(column.heading), style="not dim")
        table.add_column(head, justify="right", vertical="top")
    shared = [_shared_n(board, place) for place in places]
    for line in board.lines:
        table.add_row(
            *([line.rank] if board.ranked else []),
            _name(line.name),
            *(_cell(line.cells[place], n) for place, n in zip(places, shared, strict=True)),
        )
    if any(shared):
        counts = [Text(n, style="dim") for n in shared]
        table.add_row(*([""] if board.ranked else []), Text("n", style="dim"), *counts)
    return table


def _print_board(console: Console, board: ShownBoard) -> None:
    if not board.columns:
        console.print(
            _name(board.data), Text("no number of a headline metric was measured"), sep=": "
        )
        for note in board.rank_notes:
            console.print(_plain(note, "dim"))
        return
    for table in board_tables(board, console):
        console.print(table)
    console.print(_plain(board.sorting, "dim"))
    standings, *others = board.tables
    if standings.rows:
        console.print(_texts_table(standings, numeric=True))
    for note in board.rank_notes:
        console.print(_plain(note, "dim"))
    for texts in others:
        if texts.rows:
            console.print(_texts_table(texts))
    for note in (*board.row_notes, *board.footnotes):
        console.print(_plain(note))


def _texts_table(texts: TextTable, *, numeric: bool = False) -> Table:
    """Returns a table of texts; of a numeric one all columns but the first stand to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=texts.title, title_justify="left")
    for place, head in enumerate(texts.heads):
        right = numeric and place > 0
        table.add_column(
            Text(head), justify="right" if right else "left",
            overflow="ellipsis" if numeric else "fold",
        )  # fmt: skip
    for row in texts.rows:
        table.add_row(*map(_name, row))
    return table


def _shared_n(board: ShownBoard, place: int) -> str:
    """Returns the denominator that all numbers of a column have; "" where they differ."""
    counts = {line.cells[place].n for line in board.lines} - {""}
    return counts.pop() if len(counts) == 1 else ""


def _cell(cell: ShownNumber, shared: str) -> Text:
    measured = cell.address != ""
    text = Text(cell.text, style=_VERDICT_STYLES[cell.verdict] if measured else "dim")
    if not shared and cell.n:
        text.append(f" n {cell.n}", style="dim")
    return text


def _name(name: str) -> Text:
    return Text(shorten(visible(name), _NAME))


def _plain(text: str, style: str = "") -> Text:
    return Text(shorten(visible(text), 400), style=style)
