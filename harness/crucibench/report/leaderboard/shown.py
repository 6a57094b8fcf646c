"""A board as every format shows it: tables of texts and sentences, made once.

Markdown, LaTeX, terminal, page and site lay out what stands here and compute nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from crucibench.contracts.rows import MetricRow
from crucibench.contracts.verdict import Verdict
from crucibench.report.findings import (
    IMPRECISE_MARK,
    IMPRECISE_WORDS,
    VERDICT_MARKS,
    VERDICT_WORDS,
)
from crucibench.report.format import (
    DASH,
    counted,
    listed,
    show_count,
    show_level,
    show_number,
)
from crucibench.report.leaderboard.lines import FIELDS
from crucibench.report.leaderboard.model import About, Board, BoardCell, Column, Ranks, Spread
from crucibench.report.numbers import ShownNumber
from crucibench.report.reported import Reported
from crucibench.util.text import shorten


class ShownLine(NamedTuple):
    """One model of a board.

    Attributes:
        rank: in the column by which the board is sorted; "" where that has no ranks.
        label: its name, which no other line has.
        name: the same with the marks of rows.
        href: the page of the model; "" for none.
        about: what is known of the model.
        under: the label of the line of its model, where it is a variant; else "".
        cells: one a column.
    """

    rank: str
    label: str
    name: str
    href: str
    about: About
    under: str
    cells: Sequence[ShownNumber]


class TextTable(NamedTuple):
    """A table of texts; empty where it has no rows."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class ShownBoard:
    """A board as text.

    Attributes:
        data: the name of the data set.
        href: its page; "" for none.
        columns: their heads.
        lines: sorted.
        ranked: whether the column by which it is sorted has ranks.
        writing: how numbers are written.
        sorting: how it is sorted; "" without columns.
        naming: why labels have a run beside the name; "" where they don't.
        tables: models over all ranked columns, training seeds, model cards, and the numbers that
            could not be joined.
        rank_notes: how ranks are to be read, and why some are missing.
        row_notes: what the marks on rows mean.
        footnotes: a sentence for each mark and each dash.
        baselines: trivial predictors: name, and a number a column.
    """

    data: str
    href: str
    columns: Sequence[Column]
    lines: Sequence[ShownLine]
    ranked: bool
    writing: str
    sorting: str
    naming: str
    tables: tuple[TextTable, TextTable, TextTable, TextTable]
    rank_notes: list[str]
    row_notes: list[str]
    footnotes: Sequence[str]
    baselines: Sequence[tuple[str, Sequence[ShownNumber]]] = ()


def shown_board(
    board: Board,
    *,
    href: str = "",
    number_link: Callable[[MetricRow], str] = lambda number: "",
    model_link: Callable[[str], str] = lambda model: "",
) -> ShownBoard:
    """Returns a board as text.

    Args:
        board: the board.
        href: the page of its data set.
        number_link: where a number stands.
        model_link: the page of a model.
    """
    ranked = board.ranks is not None and bool(board.ranks.spans.get(board.sorted_by))

    def cell(found: BoardCell) -> ShownNumber:
        return replace(found.shown, href=number_link(found.number)) if found.number else found.shown

    def rank(label: str) -> str:
        return str(board.span(board.sorted_by, label) or DASH) if board.ranks else ""

    return ShownBoard(
        data=board.data,
        baselines=board.baselines,
        href=href,
        columns=board.columns,
        lines=[
            ShownLine(
                rank(line.label), line.label, line.name, model_link(line.model), line.about,
                line.under, [cell(line.entries[column.place]) for column in board.columns],
            )
            for line in board.lines
        ],
        ranked=ranked,
        writing=writing(board),
        sorting=sorting(board),
        naming=_naming(board),
        tables=(
            _standings(board),
            _seeds(board),
            _cards(board),
            TextTable(
                "Not comparable with the others of its column (†)",
                ("model", "metric", "value", "why"),
                [(one.label, one.column.title, one.shown.text, one.reason) for one in board.apart],
            ),
        ),
        rank_notes=_notes_on_ranks(board),
        row_notes=_notes_on_rows(board),
        footnotes=_footnotes(board),
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
    forms = ", other forms of a model below it" if any(line.under for line in board.lines) else ""
    return (
        f"Sorted by {order.title}, the best first{forms}; suspect numbers stand after the valid "
        "ones, invalid ones after these, and neither have a rank."
    )


def _naming(board: Board) -> str:
    if all(line.label == line.model for line in board.lines):
        return ""
    return (
        "A run stands beside a model's name where several runs measured models of that name that "
        "are not known to be the same."
    )


def reported_table(rows: Sequence[Reported]) -> TextTable:
    """Returns what other tools state as one table; it has no row where there is nothing."""
    heads = ("model", "data", "metric", "value", "standard error", "n", "under", "from")
    return TextTable(
        "Reported, not measured (as other tools state it; never ranked with what was measured)",
        heads,
        [
            (
                one.model, one.data, one.metric,
                DASH if one.value is None else f"{one.value:.6g}{one.unit}",
                DASH if one.error is None else f"{one.error:.2g}",
                DASH if one.n is None else show_count(one.n), one.conditions,
                f"{one.tool}, {one.file}",
            )
            for one in rows
        ],
    )  # fmt: skip


def _standings(board: Board) -> TextTable:
    """Returns the models over the columns that they share."""
    ranks = board.ranks
    rows = [
        (
            one.label,
            str(show_number(*one.mean_rank)),
            str(show_number(*one.win_rate, percent=True)),
            {True: "yes", False: "no", None: DASH}[one.on_front],
        )
        for one in (ranks.standings if ranks else ())
    ]
    return TextTable("Overall", ("model", "mean rank", "win rate [%]", "front"), rows)


def _seeds(board: Board) -> TextTable:
    """Returns a row for each group of training seeds and column."""
    heads = (
        "recipe", "metric", "seeds", "mean", "interval", "lowest", "highest", "SD between seeds",
        "half-width over samples",
    )  # fmt: skip
    rows = []
    for spread in board.spreads:
        percent = spread.column.metric.percent
        unit = f" [{spread.column.metric.shown_unit}]" if spread.column.metric.shown_unit else ""
        figures = (
            spread.lowest, spread.highest, spread.deviation, spread.half_width,
        )  # fmt: skip
        rows.append(
            (
                spread.group,
                f"{spread.column.title}{unit}",
                str(spread.seeds),
                str(show_number(spread.mean, percent=percent)),
                DASH if spread.interval is None else _interval(spread, percent=percent),
                *(DASH if x is None else str(show_number(x, percent=percent)) for x in figures),
            )
        )
    return TextTable("Recipes", heads, rows)


def _interval(spread: Spread, *, percent: bool) -> str:
    assert spread.interval is not None
    return show_number(spread.mean, *spread.interval, percent=percent).interval


def _cards(board: Board) -> TextTable:
    """Returns what the model cards say, a row a model; empty where no card says anything."""
    fields = [name for name in FIELDS if any(name in line.about.card for line in board.lines)]
    heads = ("model", *(name.replace("_", " ") for name in fields))
    rows = [
        (line.label, *(line.about.card.get(name, DASH) for name in fields)) for line in board.lines
    ]
    return TextTable("Model cards", heads, rows if fields else [])


def _notes_on_ranks(board: Board) -> list[str]:
    """Says how ranks are to be read, and why some are missing."""
    ranks = board.ranks
    notes = list(board.left_out)
    if ranks is None or not board.columns:
        return notes
    if ranks.spans:
        notes.append(
            "Ranks are intervals that hold together at 95 %: models are distinguished by paired "
            "tests on the same samples, corrected for all pairs (Holm); those of the same first "
            "rank form a group."
        )
    if ranks.not_resampled:
        notes.append(f"Only shares of samples tell models apart: {ranks.not_resampled}.")
    titles_of = {column.place: column.title for column in board.columns}
    if ranks.standings:
        axes = dict.fromkeys(one.axis for one in board.columns if one.place in ranks.votes)
        notes.append(
            f"Mean rank and win rate are over the {counted(len(ranks.votes), 'column')} that all "
            f"{len(ranks.standings)} ranked models have. Each axis has one vote ({listed(axes)}), "
            "shared evenly by its scenarios and then by their metrics. The 95 % intervals hold "
            "together, for all models."
        )
    notes += _not_shared(ranks, titles_of)
    if len(ranks.front) > 1:
        titles = listed(column.title for column in ranks.front)
        notes.append(f"Front: no other model is as good in all of {titles} and better in one.")
    together: dict[str, list[str]] = {}
    for place, why in ranks.unranked.items():
        together.setdefault(why, []).append(titles_of[place])
    notes += [f"No ranks in {listed(titles)}: {why}." for why, titles in together.items()]
    return notes


def _not_shared(ranks: Ranks, titles_of: Mapping[str, str]) -> list[str]:
    """Says which ranked columns have no vote, since a ranked model lacks them."""
    together: dict[tuple[str, ...], list[str]] = {}
    for place, labels in ranks.lacking.items():
        together.setdefault(tuple(labels), []).append(titles_of[place])
    notes = [
        f"Left out of mean rank and win rate, {listed(titles)}: no valid number of "
        f"{listed(labels)}."
        for labels, titles in together.items()
    ]
    if notes and not ranks.votes:
        notes.append("No mean rank: no column is shared by all ranked models (see --filter).")
    return notes


def _notes_on_rows(board: Board) -> list[str]:
    """Says what the marks on rows mean."""
    notes = []
    if any(line.under for line in board.lines):
        notes.append("↳ Another form of the model above it: it has no rank and is no rival.")
    for line in board.lines:
        label, named = shorten(line.label), line.about.trained_on_test
        if named:
            notes.append(
                f"‡ {label}: its card says that it was trained on {named!r}, the data of this "
                "board: its numbers need not say how it does on new data."
            )
        if line.about.retired is not None:
            notes.append(f"{label}, {line.about.retired}")
        elif line.about.variant_of and not line.under:
            notes.append(
                f"{label}: a variant of {line.about.variant_of!r}, which has no line here that "
                "counts: it stands for the model."
            )
    return notes


def _footnotes(board: Board) -> list[str]:
    """Returns a sentence for each mark and each dash of a board, in the order of its lines."""
    notes: list[str] = []
    verdicts = {number.verdict for number in board.numbers()}
    notes += [
        f"{VERDICT_MARKS[verdict]} {verdict}: {VERDICT_WORDS[verdict]}."
        for verdict in (Verdict.SUSPECT, Verdict.INVALID)
        if verdict in verdicts
    ]
    if any("imprecise" in number.mark for number in board.numbers()):
        notes.append(f"{IMPRECISE_MARK} imprecise: {IMPRECISE_WORDS}.")
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


def _why(entry: BoardCell) -> str:
    number = entry.number
    if number is None:
        return "" if entry.shown.apart else entry.shown.reason
    if number.value is None:
        return f"no value: {number.reason}"
    return f"no interval: {number.reason}" if number.interval is None else ""
