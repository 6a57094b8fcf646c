"""What is said of a leaderboard's models beside their numbers, as every format shows it."""

from __future__ import annotations

from crucibench.report.format import DASH, show_number
from crucibench.report.leaderboard import Board, Line
from crucibench.report.leaderboard.about import FIELDS
from crucibench.util.text import shorten

SEED_HEADS = (
    "seeds of", "metric", "seeds", "mean", "lowest", "highest", "SD between seeds",
    "half-width over samples",
)  # fmt: skip


def label_text(line: Line) -> str:
    """Returns a line's name with its marks."""
    mark = " ‡" if line.about.trained_on_test else ""
    gone = f" ({line.about.retired.kind})" if line.about.retired else ""
    return f"{line.label}{mark}{gone}"


def card_heads(board: Board) -> tuple[str, ...]:
    """Returns the heads of `card_rows`: model, and the fields that some card has."""
    fields = [name for name in FIELDS if any(name in line.about.card for line in board.lines)]
    return ("model", *(name.replace("_", " ") for name in fields)) if fields else ()


def card_rows(board: Board) -> list[tuple[str, ...]]:
    """Returns what the model cards say, a row a model; empty where no card says anything."""
    fields = [head.replace(" ", "_") for head in card_heads(board)[1:]]
    if not fields:
        return []
    return [
        (line.label, *(line.about.card.get(name, DASH) for name in fields)) for line in board.lines
    ]


def notes_on_rows(board: Board) -> list[str]:
    """Says what the marks on rows mean."""
    notes = []
    for line in board.lines:
        label, named = shorten(line.label), line.about.trained_on_test
        if named:
            notes.append(
                f"‡ {label}: its card says that it was trained on {named!r}, the data of this "
                "board: its numbers need not say how it does on new data."
            )
        if line.about.retired is not None:
            notes.append(f"{label}, {line.about.retired}")
    return notes


def seed_rows(board: Board) -> list[tuple[str, ...]]:
    """Returns a row under `SEED_HEADS` for each group of seeds and column."""
    rows = []
    for spread in board.spreads:
        percent = spread.column.metric.percent
        unit = f" [{spread.column.metric.shown_unit}]" if spread.column.metric.shown_unit else ""
        figures = (
            spread.mean, spread.lowest, spread.highest, spread.deviation, spread.half_width,
        )  # fmt: skip
        rows.append(
            (
                spread.group,
                f"{spread.column.title}{unit}",
                str(spread.seeds),
                *(DASH if x is None else str(show_number(x, percent=percent)) for x in figures),
            )
        )
    return rows
