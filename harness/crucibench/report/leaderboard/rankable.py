"""Which columns of a board can be ranked, as far as the board itself tells."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from crucibench.contracts.verdict import Verdict
from crucibench.report.leaderboard.board import Board, Column, Entry, Line

MOST = 50
"""Most models of a column that are told apart pair by pair."""

SIGNS = {"higher": 1, "lower": -1}
"""By direction, what makes a larger value a better one."""


class Rankable(NamedTuple):
    """The columns of a board.

    Attributes:
        columns: those whose records are worth reading, with the lines to be ranked in them.
        refused: why the others are not, by place.
    """

    columns: tuple[tuple[Column, tuple[Line, ...]], ...]
    refused: dict[str, str]


def rankable_of(board: Board) -> Rankable:
    """Returns the columns of a board.

    Only valid numbers have a rank: what an audit found suspect or invalid is shown, marked, and
    told apart from nothing. Rows that no longer count have none either.
    """
    columns, refused = [], {}
    for column in board.columns:
        lines = tuple(line for line in counting(board) if _ranked(line, column))
        if column.metric.direction not in SIGNS:
            refused[column.place] = "no direction of it is better"
        elif len(lines) < 2:
            refused[column.place] = "fewer than two models have a valid number"
        elif len(lines) > MOST:
            refused[column.place] = f"{len(lines)} models, more than the {MOST} that are told apart"
        else:
            columns.append((column, lines))
    return Rankable(tuple(columns), refused)


def counting(board: Board) -> tuple[Line, ...]:
    """Returns the lines that were not withdrawn or superseded."""
    return tuple(line for line in board.lines if line.about.retired is None)


def valid_part(board: Board) -> Board:
    """Returns a board of the valid numbers alone, and of the columns that two of its lines have."""
    lines = tuple(
        replace(
            line,
            entries={
                place: entry if _is_valid(entry) else Entry(number=None)
                for place, entry in line.entries.items()
            },
        )
        for line in counting(board)
    )
    columns = tuple(
        column for column in board.columns if sum(_ranked(line, column) for line in lines) > 1
    )
    return replace(board, lines=lines, columns=columns)


def _ranked(line: Line, column: Column) -> bool:
    return _is_valid(line.entries[column.place])


def _is_valid(entry: Entry) -> bool:
    number = entry.number
    return number is not None and number.value is not None and number.verdict is Verdict.VALID
