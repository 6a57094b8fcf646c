"""The trivial predictors of a data set, as rows of their own below a board's models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from crucibench.report.format import show_count, show_number
from crucibench.report.leaderboard.model import Board
from crucibench.report.numbers import ShownNumber
from crucibench.store.documents import read_document
from crucibench.util.errors import UnreadableError

if TYPE_CHECKING:
    from crucibench.store.run import Run


def baselines_of(
    board: Board, runs: Iterable[Run]
) -> tuple[tuple[str, Sequence[ShownNumber]], ...]:
    """Returns a board's trivial predictors: each one's name, and a number or dash a column.

    They were scored when the claims of a run were made, on the samples of its first model; of
    several runs the first that has them speaks.
    """
    for run in runs:
        found = [one for one in _stored(run) if one["data"] == board.data]
        if found:
            return tuple(
                (name, [_shown(board, found, name, column.place) for column in board.columns])
                for name in dict.fromkeys(one["baseline"] for one in found)
            )
    return ()


def _stored(run: Run) -> Sequence[dict[str, Any]]:
    # As plain data: what makes claims loads the engine, which a board does not need.
    if run.packed or not run.finished or not run.layout.claims.is_file():
        return []
    try:
        stored = read_document(run.layout.claims)
    except UnreadableError:
        return []  # claims are made again where they are asked for
    return stored.get("baselines", []) if stored.get("of") == run.digest else []


def _shown(board: Board, found: Sequence[dict[str, Any]], name: str, place: str) -> ShownNumber:
    for one in found:
        if (one["baseline"], one["place"]) == (name, place):
            column = next(column for column in board.columns if column.place == place)
            text = show_number(
                one["value"], one["lower"], one["upper"], percent=column.metric.percent
            )
            return ShownNumber(
                value=text.value, interval=text.interval, n=show_count(one["n"]),
                sort=repr(one["value"]),
            )  # fmt: skip
    return ShownNumber(reason="looks at no input: nothing to measure")
