"""A leaderboard as Markdown, CSV, JSON and LaTeX.

In LaTeX what a user named is escaped, character by character: no name is a command. Characters
that the common fonts lack are written as their code points, so that pdflatex sets every name.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Verdict
from crucibench.report.format import csv_text
from crucibench.report.leaderboard import Board, Column, Leaderboard, Line
from crucibench.report.leaderboard.lines import FIELDS
from crucibench.report.leaderboard.shown import ShownBoard, TextTable, reported_table, shown_board
from crucibench.report.numbers import ShownNumber
from crucibench.util.text import markdown_text, shorten, visible

_CSV_COLUMNS = (
    "data", "model", "run", "axis", "address", "metric", "value", "lower", "upper", "level", "n",
    "unit", "direction", "verdict", "joined", "rank_lower", "rank_upper", "reason", "variant_of",
    "group", "authors", "paper", "licence", "trained_on", "trained_on_test", "retired",
)  # fmt: skip


def markdown(board: Leaderboard) -> str:
    """Renders a leaderboard as Markdown."""
    parts = ["# Leaderboard", ""]
    names = ", ".join(markdown_text(run) for run in board.runs)
    parts += [f"From {'run' if len(board.runs) == 1 else 'runs'} {names}.", ""]
    for one in board.boards:
        parts += _board_markdown(shown_board(one))
    parts += _table_markdown(reported_table(board.reported))
    return "\n".join(parts).rstrip() + "\n"


def _board_markdown(board: ShownBoard) -> list[str]:
    lines = [f"## {markdown_text(board.data)}", ""]
    standings, *others = board.tables
    overall = _table_markdown(standings)
    if board.rank_notes:
        overall += [*(f"- {markdown_text(note, 600)}" for note in board.rank_notes), ""]
    if not board.columns:
        return [*lines, "No number of a headline metric was measured.", "", *overall]
    heads = [f"{column.axis}: {column.heading}" for column in board.columns]
    lines.append(f"| model | {' | '.join(markdown_text(head) for head in heads)} |")
    lines.append(f"| --- |{' ---: |' * len(heads)}")
    if board.ranked:
        lines[-2:] = [f"| rank {lines[-2]}", f"| ---: {lines[-1]}"]
    for line in board.lines:
        rank = f"| {line.rank} " if board.ranked else ""
        texts = " | ".join(map(_cell_markdown, line.cells))
        lines.append(f"{rank}| {markdown_text(line.name)} | {texts} |")
    for name, cells in board.baselines:
        rank = "| " if board.ranked else ""
        lines.append(f"{rank}| *baseline: {name}* | {' | '.join(map(_cell_markdown, cells))} |")
    lines += ["", markdown_text(f"{board.writing} {board.sorting}", 1000), "", *overall]
    for table in others:
        lines += _table_markdown(table)
    notes = [*board.row_notes, *board.footnotes]
    if notes:
        lines += [f"- {markdown_text(note, 400)}" for note in notes] + [""]
    return lines


def _table_markdown(table: TextTable) -> list[str]:
    if not table.rows:
        return []
    rows = [" | ".join(markdown_text(text, 200) for text in row) for row in table.rows]
    return [
        f"{table.title}:", "", f"| {' | '.join(table.heads)} |",
        f"| --- |{' ---: |' * (len(table.heads) - 1)}",
        *(f"| {row} |" for row in rows), "",
    ]  # fmt: skip


def _cell_markdown(cell: ShownNumber) -> str:
    text = cell.text.replace("[", "\\[").replace("]", "\\]")
    if not cell.value:
        return text
    verdict = "" if cell.verdict is Verdict.VALID else f" **{cell.verdict}**"
    return f"{text}{verdict} <sub>n {cell.n}</sub>"


def csv(board: Leaderboard) -> str:
    """Renders a leaderboard as CSV, a line a number, raw: shares from 0 to 1, dots, no rounding."""
    rows = [[entry.get(name) for name in _CSV_COLUMNS] for entry in _flat(board)]
    return csv_text(_CSV_COLUMNS, rows)


def _flat(board: Leaderboard) -> list[dict[str, Any]]:
    flat = []
    for one in board.boards:
        for line in one.lines:
            for column in one.columns:
                cell = line.entries[column.place]
                if not cell.shown.apart:
                    why = "" if cell.number else cell.shown.reason
                    record = _record(one.data, line.label, column, cell.number, why)
                    span = one.span(column.place, line.label)
                    flat.append(
                        record
                        | {"run": record["run"] or " ".join(line.runs), "joined": True}
                        | ({"rank_lower": span.lower, "rank_upper": span.upper} if span else {})
                        | _about(line)
                    )
        flat += [
            _record(one.data, apart.label, apart.column, apart.number, apart.reason)
            for apart in one.apart
        ]
    flat += [
        {
            "data": one.data, "model": one.model, "metric": one.metric, "value": one.value,
            "n": one.n, "unit": one.unit, "joined": False,
            "reason": f"reported, not measured: {one.tool}, {one.file}",
        }
        for one in board.reported
    ]  # fmt: skip
    return flat


def _record(
    data: str, label: str, column: Column, number: MetricRow | None, why: str
) -> dict[str, Any]:
    reasons = [why, number.reason if number else ""]
    return {
        "data": data,
        "model": label,
        "run": number.run if number else "",
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
        "joined": False,
        "rank_lower": None,
        "rank_upper": None,
        "reason": "; ".join(reason for reason in reasons if reason),
    }


def _about(line: Line) -> dict[str, str | None]:
    about = line.about
    return {
        "variant_of": line.under or None,
        "group": about.group or None,
        **{name: about.card.get(name) for name in FIELDS},
        "trained_on_test": about.trained_on_test or None,
        "retired": str(about.retired) if about.retired else None,
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
            "votes": dict(one.ranks.votes) if one.ranks else None,
            "not_shared": dict(one.ranks.lacking) if one.ranks else None,
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
    reported = [one._asdict() for one in board.reported]
    document = {"runs": list(board.runs), "boards": boards, "reported": reported}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _standings(board: Board) -> list[dict[str, Any]] | None:
    if board.ranks is None:
        return None
    return [
        {
            "model": one.label,
            "mean_rank": one.mean_rank._asdict(),
            "win_rate": one.win_rate._asdict(),
            "on_front": one.on_front,
        }
        for one in board.ranks.standings
    ]


def _plain(value: Any) -> Any:
    # JSON has no infinity.
    return str(value) if isinstance(value, float) and math.isinf(value) else value


_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "^": r"\textasciicircum{}", "_": r"\_", "~": r"\textasciitilde{}", "%": r"\%",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "[": "{[}", "]": "{]}", "-": "{-}",
    "\u2013": r"\textendash{}", "\u2014": r"\textemdash{}", "\u2212": r"$-$", "±": r"$\pm$",
    "≈": r"$\approx$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "\u00d7": r"$\times$", "†": r"$\dagger$", "‡": r"$\ddagger$", "✗": r"$\times$",
    "…": r"\ldots{}", "↳": r"$\hookrightarrow$", "\u00a0": "~", "\n": " ", "µ": r"$\mu$",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u0327": "c",
    "\u030c": "v", "\u030a": "r",
}  # fmt: skip

PREAMBLE = "% \\usepackage{booktabs,textcomp}\n% \\usepackage[T1]{fontenc}\n"


def latex(board: Leaderboard) -> str:
    """Renders a leaderboard as LaTeX: a table environment a data set.

    It needs the packages booktabs, textcomp and fontenc with T1, and nothing else.
    """
    parts = [_board(shown_board(one)) for one in board.boards]
    if (table := reported_table(board.reported)).rows:
        parts.append(f"% {table.title}\n{_table(table.heads, table.rows, len(table.heads))}\n")
    return PREAMBLE + "\n".join(parts)


def latex_text(text: str, limit: int = 80) -> str:
    """Escapes text for LaTeX."""
    return "".join(_character(char) for char in shorten(visible(text, keep="\n"), limit))


def _character(char: str) -> str:
    if char in _SPECIAL:
        return _SPECIAL[char]
    if char.isascii():
        return char if char.isprintable() else " "
    parts = unicodedata.normalize("NFD", char)
    if len(parts) == 2 and parts[1] in _ACCENTS and parts[0].isascii() and parts[0].isalpha():
        return f"\\{_ACCENTS[parts[1]]}{{{parts[0]}}}"
    return f"\\texttt{{U+{ord(char):04X}}}"


def _board(board: ShownBoard) -> str:
    title = latex_text(board.data)
    if not board.columns:
        sentences = [
            "no number of a headline metric was measured",
            *(latex_text(note, 400) for note in board.rank_notes),
        ]
        return "".join(f"% {title}: {text}\n" for text in sentences)
    heads = [f"{column.axis}: {column.heading}" for column in board.columns]
    rows = [
        [*([line.rank] if board.ranked else []), line.name, *map(_with_n, line.cells)]
        for line in board.lines
    ]
    first = ["rank"] if board.ranked else []
    parts = [_table([*first, "model", *heads], rows, len(first) + 1)]
    notes = [*board.rank_notes, *board.row_notes, *board.footnotes]
    for table, texts in zip(board.tables, (1, 2, None, None), strict=True):
        if table.rows:
            tabular = _table(table.heads, table.rows, texts or len(table.heads))
            parts.append(f"{latex_text(table.title)}\n\n{tabular}")
    sentences = [latex_text(f"{board.writing} {board.sorting}", 1000)]
    sentences += [latex_text(note, 400) for note in notes]
    body = "\n\n\\smallskip\n".join(parts)
    below = "\n\n".join(sentences)
    return (
        f"\\begin{{table}}\n\\centering\\footnotesize\n\\caption{{{title}}}\n{body}\n\n"
        f"\\smallskip\n\\parbox{{\\linewidth}}{{\\scriptsize {below}}}\n\\end{{table}}\n"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], texts: int) -> str:
    """Returns a tabular whose first `texts` columns stand to the left."""
    form = "l" * texts + "r" * (len(heads) - texts)
    lines = [" & ".join(latex_text(head) for head in heads)]
    lines += [" & ".join(latex_text(text) for text in row) for row in rows]
    head, *body = (f"{line} \\\\" for line in lines)
    inner = "\n".join([r"\toprule", head, r"\midrule", *body, r"\bottomrule"])
    return f"\\begin{{tabular}}{{{form}}}\n{inner}\n\\end{{tabular}}"


def _with_n(cell: ShownNumber) -> str:
    return f"{cell.text} (n {cell.n})" if cell.value else cell.text
