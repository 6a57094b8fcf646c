"""Leaderboard and findings in the terminal; a rich Console obeys NO_COLOR by itself."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich import box
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from crucibench.contracts.verdict import Severity, Verdict
from crucibench.report.findings import FoundHere, findings_of, nothing_found
from crucibench.report.format import counted, show_count
from crucibench.report.leaderboard import Board, Column, Entry, Leaderboard
from crucibench.report.leaderboard_about import (
    SEED_HEADS,
    card_heads,
    card_rows,
    label_text,
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
from crucibench.util.text import shorten, visible

if TYPE_CHECKING:
    from rich.console import Console

    from crucibench.store.run import Run

_VERDICT_STYLES = {Verdict.VALID: "", Verdict.SUSPECT: "yellow", Verdict.INVALID: "red"}
_SEVERITY_STYLES = {Severity.INFO: "dim", Severity.SUSPECT: "yellow", Severity.INVALID: "red"}
_NAME = 40


def print_leaderboard(console: Console, leaderboard: Leaderboard) -> None:
    """Prints each board with its footnotes; then how the numbers are written, once."""
    rules: dict[str, None] = {}
    for board in leaderboard.boards:
        _print_board(console, board)
        console.print()
        if board.columns:
            rules[writing(board)] = None
    for text in rules:
        console.print(_plain(text, "dim"))


def print_findings(console: Console, run: Run, *, notes: bool = True) -> None:
    """Prints what the audits found, the gravest first; `notes` includes findings of severity info.

    Prints one sentence where there is nothing; cells that were not audited are counted apart.
    """
    found = findings_to_read(run, notes=notes)
    if found:
        console.print(findings_table(found))
    else:
        console.print(nothing_found(run.cells.values()))


def findings_to_read(run: Run, *, notes: bool) -> list[FoundHere]:
    """Returns a run's findings, the gravest first; `notes` includes those of severity info."""
    return [entry for entry in findings_of(run) if notes or entry.severity is not Severity.INFO]


def findings_table(found: Sequence[FoundHere]) -> Table:
    """Returns findings as a table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Findings", title_justify="left")
    for name in ("severity", "model", "data", "where", "finding"):
        table.add_column(name, overflow="fold", ratio=1 if name == "finding" else None)
    for entry in found:
        where = entry.scenario
        if len(entry.cells) > 1:
            where += f" ({counted(len(entry.cells), 'cell')})"
        table.add_row(
            Text(str(entry.severity), style=_SEVERITY_STYLES[entry.severity]),
            _name(entry.model),
            _name(entry.data),
            _plain(where),
            _plain(f"{entry.code}: {entry.message}"),
        )
    return table


def board_tables(board: Board, console: Console) -> list[Table]:
    """Returns a board as one table; where the console is too narrow for it, as one or more an axis.

    A column stands whole in its table, unless it alone is too wide for the console.
    """
    whole = _board_table(board, board.columns)
    if _fits(whole, console):
        return [whole]
    tables: list[Table] = []
    for _, of_axis in groupby(board.columns, key=lambda column: column.axis):
        chosen: list[Column] = []
        for column in of_axis:
            wider = [*chosen, column]
            if chosen and not _fits(_board_table(board, wider), console):
                tables.append(_board_table(board, chosen, titled=not tables))
                wider = [column]
            chosen = wider
        tables.append(_board_table(board, chosen, titled=not tables))
    return tables


def _fits(table: Table, console: Console) -> bool:
    endless = console.options.update(width=100_000)
    return Measurement.get(console, endless, table).maximum <= console.width


def _board_table(board: Board, columns: Sequence[Column], *, titled: bool = True) -> Table:
    title = _name(board.data) if titled else None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    ranked = shows_ranks(board)
    if ranked:
        table.add_column("rank", justify="right")
    table.add_column("model", overflow="fold", no_wrap=False)
    axis = ""
    for column in columns:
        head = Text(column.axis if column.axis != axis else "", style="dim")
        axis = column.axis
        head.append("\n")
        head.append(visible(column_title(column)), style="not dim")
        table.add_column(head, justify="right", vertical="top")
    shared = {column.place: _shared_n(board, column) for column in columns}
    for line in board.lines:
        places = [(column, line.entries[column.place]) for column in columns]
        table.add_row(
            *([rank_text(board, line.label)] if ranked else []),
            _name(label_text(line)),
            *(_entry(column, entry, shared[column.place]) for column, entry in places),
        )
    if any(shared.values()):
        counts = [_n(shared[column.place]) for column in columns]
        table.add_row(*([""] if ranked else []), Text("n", style="dim"), *counts)
    return table


def standings_table(board: Board) -> Table | None:
    """Returns the models over all ranked columns; None without ranks."""
    rows = standing_rows(board)
    if not rows:
        return None
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="Overall", title_justify="left")
    for name in STANDING_HEADS:
        table.add_column(Text(name), justify="left" if name == "model" else "right")
    for label, *texts in rows:
        table.add_row(_name(label), *map(Text, texts))
    return table


def _print_board(console: Console, board: Board) -> None:
    if not board.columns:
        console.print(
            _name(board.data), Text("no number of a headline metric was measured"), sep=": "
        )
        for note in board.left_out:
            console.print(_plain(note, "dim"))
        return
    for table in board_tables(board, console):
        console.print(table)
    console.print(_plain(sorting(board), "dim"))
    overall = standings_table(board)
    if overall is not None:
        console.print(overall)
    for note in notes_on_ranks(board):
        console.print(_plain(note, "dim"))
    for title, heads, rows in (
        ("Between training seeds", SEED_HEADS, seed_rows(board)),
        ("Model cards", card_heads(board), card_rows(board)),
    ):
        if rows:
            console.print(_texts_table(title, heads, rows))
    for note in (*notes_on_rows(board), *footnotes(board)):
        console.print(_plain(note))
    for apart in board.apart:
        text = entry_text(apart.column, Entry(number=apart.number))
        console.print(
            _plain(f"† {apart.label}, {apart.column.title}: {text}, not joined: {apart.reason}")
        )


def _texts_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    for head in heads:
        table.add_column(Text(head), overflow="fold")
    for row in rows:
        table.add_row(*map(_name, row))
    return table


def _shared_n(board: Board, column: Column) -> int | None:
    numbers = [line.entries[column.place].number for line in board.lines]
    counts = {number.n for number in numbers if number is not None and number.value is not None}
    return counts.pop() if len(counts) == 1 else None


def _n(count: int | None) -> Text:
    return Text("" if count is None else show_count(count), style="dim")


def _entry(column: Column, entry: Entry, shared: int | None) -> Text:
    style = _VERDICT_STYLES[entry.number.verdict] if entry.number is not None else "dim"
    text = Text(entry_text(column, entry), style=style)
    if shared is None and entry.number is not None and entry.number.value is not None:
        text.append(f" n {show_count(entry.number.n)}", style="dim")
    return text


def _name(name: str) -> Text:
    return Text(shorten(visible(name), _NAME))


def _plain(text: str, style: str = "") -> Text:
    return Text(shorten(visible(text), 400), style=style)
