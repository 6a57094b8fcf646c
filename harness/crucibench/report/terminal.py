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
from crucibench.report.format import counted
from crucibench.report.leaderboard import Leaderboard
from crucibench.report.leaderboard.shown import ShownBoard, TextTable, shown_board
from crucibench.report.numbers import ShownNumber
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
    for board in map(shown_board, leaderboard.boards):
        _print_board(console, board)
        console.print()
        if board.columns:
            rules[board.writing] = None
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
        for note in board.left_out:
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
    for what, text, why in board.apart:
        console.print(_plain(f"† {what}: {text}, not joined: {why}"))


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
