"""A leaderboard as Markdown, CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from crucibench.contracts.verdict import Verdict
from crucibench.report.csv_text import csv_text
from crucibench.report.findings import VERDICT_MARKS, VERDICT_WORDS
from crucibench.report.format import DASH, direction_mark, show_count, show_level
from crucibench.report.leaderboard import (
    Apart,
    Board,
    Column,
    Entry,
    Leaderboard,
    Line,
    shown_metric,
)
from crucibench.report.leaderboard.about import FIELDS
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
from crucibench.util.text import markdown_text, shorten

_CSV_COLUMNS = (
    "data", "model", "run", "axis", "address", "metric", "value", "lower", "upper", "level", "n",
    "unit", "direction", "verdict", "joined", "rank_lower", "rank_upper", "reason", "group",
    "authors", "paper", "licence", "trained_on", "trained_on_test", "retired",
)  # fmt: skip


def writing(board: Board) -> str:
    """Says how a board's numbers are written."""
    levels = " or ".join(show_level(level) for level in board.levels) or "confidence"
    return (
        f"Brackets hold the {levels} interval of each number; n is its denominator. Metrics that "
        "run from 0 to 1 are in per cent. Two significant digits of the interval's half-width "
        "decide the decimals shown."
    )


def sorting(board: Board) -> str:
    """Says how a board is sorted; "" where it has no columns."""
    order = next((column for column in board.columns if column.place == board.sorted_by), None)
    if order is None:
        return ""
    return (
        f"Sorted by {order.title}, the best first; suspect numbers stand after the valid ones, "
        "invalid ones after these, and neither have a rank."
    )


def column_title(column: Column) -> str:
    """Returns a column's head: title, unit and direction."""
    unit = f" [{column.metric.shown_unit}]" if column.metric.shown_unit else ""
    mark = direction_mark(column.metric.direction)
    return f"{column.title}{unit} {mark}".rstrip()


def entry_text(column: Column, entry: Entry) -> str:
    """Returns a place's text: value, interval and verdict mark; a dash where there is none."""
    number = entry.number
    if number is None:
        return f"{DASH}†" if entry.apart else DASH
    mark = VERDICT_MARKS[number.verdict]
    shown = DASH if number.value is None else str(shown_metric(column, number).show(number))
    return f"{shown} {mark}".rstrip()


def footnotes(board: Board) -> list[str]:
    """Returns a sentence for each mark and each dash of a board, in the order of its lines."""
    notes: list[str] = []
    verdicts = {number.verdict for number in board.numbers()}
    notes += [
        f"{VERDICT_MARKS[verdict]} {verdict}: {VERDICT_WORDS[verdict]}."
        for verdict in (Verdict.SUSPECT, Verdict.INVALID)
        if verdict in verdicts
    ]
    for line in board.lines:
        missing: dict[str, list[str]] = {}
        for column in board.columns:
            why = _why(line.entries[column.place])
            if why:
                missing.setdefault(why, []).append(column.title)
        label = shorten(line.label)
        notes += [f"{label}, {'; '.join(titles)}: {why}" for why, titles in missing.items()]
        gathered: dict[tuple[Verdict, str], list[str]] = {}
        for column in board.columns:
            entry = line.entries[column.place]
            if entry.number is None:
                continue
            for text in entry.findings:
                gathered.setdefault((entry.number.verdict, text), []).append(column.title)
        notes += [
            f"{label} {VERDICT_MARKS[verdict]} {'; '.join(titles)}: {text}"
            for (verdict, text), titles in sorted(gathered.items())
        ]
    return notes


def _why(entry: Entry) -> str:
    number = entry.number
    if number is None:
        return "" if entry.apart else entry.why
    if number.value is None:
        return f"no value: {number.reason}"
    return f"no interval: {number.reason}" if number.interval is None else ""


def markdown(board: Leaderboard) -> str:
    """Renders a leaderboard as Markdown."""
    parts = ["# Leaderboard", ""]
    names = ", ".join(markdown_text(run) for run in board.runs)
    parts += [f"From {'run' if len(board.runs) == 1 else 'runs'} {names}.", ""]
    for one in board.boards:
        parts += _board_markdown(one)
    return "\n".join(parts).rstrip() + "\n"


def _board_markdown(board: Board) -> list[str]:
    lines = [f"## {markdown_text(board.data)}", ""]
    if not board.columns:
        lines += ["No number of a headline metric was measured.", ""]
        return lines + _standings_markdown(board)
    heads = [f"{column.axis}: {column_title(column)}" for column in board.columns]
    ranked = shows_ranks(board)
    lines.append(f"| model | {' | '.join(markdown_text(head) for head in heads)} |")
    lines.append(f"| --- |{' ---: |' * len(heads)}")
    if ranked:
        lines[-2:] = [f"| rank {lines[-2]}", f"| ---: {lines[-1]}"]
    for line in board.lines:
        places = [(column, line.entries[column.place]) for column in board.columns]
        texts = [_entry_markdown(column, entry) for column, entry in places]
        rank = f"| {rank_text(board, line.label)} " if ranked else ""
        lines.append(f"{rank}| {markdown_text(label_text(line))} | {' | '.join(texts)} |")
    lines += ["", markdown_text(f"{writing(board)} {sorting(board)}", 1000), ""]
    lines += _standings_markdown(board)
    lines += _table_markdown(SEED_HEADS, seed_rows(board))
    lines += _table_markdown(card_heads(board), card_rows(board))
    notes = [*notes_on_rows(board), *footnotes(board)]
    if notes:
        lines += [f"- {markdown_text(note, 400)}" for note in notes] + [""]
    if board.apart:
        lines += ["† Not comparable with the others of its column:", ""]
        for apart in board.apart:
            text = entry_text(apart.column, Entry(number=apart.number))
            lines.append(
                f"- {markdown_text(f'{apart.label}, {apart.column.title}')}: {text}, "
                f"{markdown_text(apart.reason)}"
            )
        lines.append("")
    return lines


def _standings_markdown(board: Board) -> list[str]:
    lines = _table_markdown(STANDING_HEADS, standing_rows(board))
    notes = [f"- {markdown_text(note, 600)}" for note in notes_on_ranks(board)]
    return [*lines, *notes, ""] if notes else lines


def _table_markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    shown = [f"| {' | '.join(map(_cell_text, row))} |" for row in rows]
    if not shown:
        return []
    return [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}", *shown, ""]


def _cell_text(text: str) -> str:
    return markdown_text(text, 200)


def _entry_markdown(column: Column, entry: Entry) -> str:
    text = entry_text(column, entry).replace("[", "\\[").replace("]", "\\]")
    number = entry.number
    if number is None or number.value is None:
        return text
    verdict = "" if number.verdict is Verdict.VALID else f" **{number.verdict}**"
    return f"{text}{verdict} <sub>n {show_count(number.n)}</sub>"


def csv(board: Leaderboard) -> str:
    """Renders a leaderboard as CSV, a line a number, raw: shares from 0 to 1, dots, no rounding."""
    rows = [[entry.get(name) for name in _CSV_COLUMNS] for entry in _flat(board)]
    return csv_text(_CSV_COLUMNS, rows)


def _flat(board: Leaderboard) -> list[dict[str, Any]]:
    flat = []
    for one in board.boards:
        for line in one.lines:
            for column in one.columns:
                entry = line.entries[column.place]
                if not entry.apart:
                    flat.append(_record(one, line, column, entry, joined=True))
        for apart in one.apart:
            entry = Entry(number=apart.number, why=apart.reason)
            flat.append(_record(one, apart, apart.column, entry, joined=False))
    return flat


def _record(
    board: Board, line: Line | Apart, column: Column, entry: Entry, *, joined: bool
) -> dict[str, Any]:
    number = entry.number
    runs = line.runs if isinstance(line, Line) else (line.number.run,)
    reasons = [entry.why, number.reason if number else ""]
    span = board.ranks and joined and board.ranks.spans.get(column.place, {}).get(line.label)
    return {
        "data": board.data,
        "model": line.label,
        "run": number.run if number else " ".join(runs),
        "axis": column.axis,
        "address": column.place,
        "metric": column.metric.id,
        "value": number.value if number else None,
        "lower": number.lower if number else None,
        "upper": number.upper if number else None,
        "level": number.level if number else None,
        "n": number.n if number else None,
        "unit": column.metric.unit,
        "direction": column.metric.direction,
        "verdict": str(number.verdict) if number else "",
        "joined": joined,
        "rank_lower": span.lower if span else None,
        "rank_upper": span.upper if span else None,
        "reason": "; ".join(reason for reason in reasons if reason),
        **_about(line),
    }


def _about(line: Line | Apart) -> dict[str, str | None]:
    if isinstance(line, Apart):
        return {}
    said = line.about
    return {
        "group": said.group or None,
        **{name: said.card.get(name) for name in FIELDS},
        "trained_on_test": said.trained_on_test or None,
        "retired": str(said.retired) if said.retired else None,
    }


def json_text(board: Leaderboard) -> str:
    """Renders a leaderboard as JSON: the numbers of `csv`, by data set and model."""
    boards = [
        {
            "data": one.data,
            "sorted_by": one.sorted_by,
            "columns": [
                {
                    "address": column.place,
                    "axis": column.axis,
                    "title": column.title,
                    "metric": column.metric.id,
                    "definition": column.metric.definition,
                    "unit": column.metric.unit,
                    "direction": column.metric.direction,
                }
                for column in one.columns
            ],
            "order": [line.label for line in one.lines],
            "standings": _standings(one),
            "left_out": list(one.left_out),
            "seeds": [
                {**spread._asdict(), "column": spread.column.place} for spread in one.spreads
            ],
            "numbers": [
                {name: _plain(value) for name, value in entry.items()}
                for entry in _flat(Leaderboard(boards=(one,)))
            ],
        }
        for one in board.boards
    ]
    document = {"runs": list(board.runs), "boards": boards}
    return _laid_out(document) + "\n"


def _laid_out(value: Any, indent: str = "") -> str:
    """Returns JSON with a line for each list or mapping that holds no other."""
    deeper = f"{indent} "
    if isinstance(value, dict) and _holds_others(value.values()):
        pairs = (
            f"{deeper}{json.dumps(key, ensure_ascii=False)}: {_laid_out(entry, deeper)}"
            for key, entry in value.items()
        )
        return "{\n" + ",\n".join(pairs) + f"\n{indent}}}"
    if isinstance(value, list) and _holds_others(value):
        entries = (f"{deeper}{_laid_out(entry, deeper)}" for entry in value)
        return "[\n" + ",\n".join(entries) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _holds_others(values: Iterable[Any]) -> bool:
    return any(isinstance(value, dict | list) for value in values)


def _standings(board: Board) -> list[dict[str, Any]] | None:
    if board.ranks is None:
        return None
    return [
        {
            "model": one.label,
            "win_rate": one.win_rate and one.win_rate._asdict(),
            "mean_rank": one.mean_rank and one.mean_rank._asdict(),
            "columns": one.columns,
            "of_columns": len(board.ranks.spans),
            "others": one.others,
            "on_front": one.on_front,
        }
        for one in board.ranks.standings
    ]


def _plain(value: Any) -> Any:
    # JSON has no infinity.
    return str(value) if isinstance(value, float) and math.isinf(value) else value
