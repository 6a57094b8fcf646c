"""The scorecard of a data set: what stands out, the numbers, the axes against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from crucibench.report import marks
from crucibench.report.format import listed
from crucibench.report.leaderboard import Board
from crucibench.report.leaderboard.shown import sorting, writing
from crucibench.report.numbers import Metric, ShownNumber, shown
from crucibench.report.page import (
    Anchors,
    MetricView,
    ModelHead,
    SuiteView,
)
from crucibench.report.pareto import ParetoView, pareto_view
from crucibench.report.standouts import Standouts, standouts
from crucibench.util.text import shorten


@dataclass(frozen=True, kw_only=True)
class ScoreboardView:
    """The scorecard of one data set."""

    anchor: str
    results: str
    data: str
    about: str
    axes: Sequence[tuple[str, int]]
    columns: Sequence[MetricView]
    lines: Sequence[tuple[ModelHead, Sequence[ShownNumber]]]
    standouts: Standouts
    pareto: ParetoView | None
    caption: str
    notes: Sequence[str]
    apart: Sequence[tuple[str, str, ShownNumber, str]]
    suites: Sequence[SuiteView] = ()


def scoreboard_view(
    board: Board,
    *,
    about: str,
    head: Callable[[str], ModelHead],
    href: Callable[[Metric], str],
    anchors: Anchors,
    suites: Sequence[SuiteView],
) -> ScoreboardView:
    """Makes the scorecard of a board.

    Args:
        board: of one data set.
        about: the data set in a few words.
        head: of a model.
        href: the anchor of a metric's definition.
        anchors: the page's ids.
        suites: the results that follow.
    """
    scales = {}
    for column in board.columns:
        numbers = [line.entries[column.place].number for line in board.lines]
        scales[column.place] = marks.scale_of(
            end
            for number in numbers
            if number is not None
            for end in (number.value, number.lower, number.upper)
        )
    columns = []
    for column in board.columns:
        scale = scales[column.place]
        ends = "" if scale is None else column.metric.show_span(*scale)
        columns.append(MetricView.of(column.metric, href(column.metric), column.context, ends))
    lines = []
    found: dict[tuple[str, str, str], None] = {}
    for line in board.lines:
        views = []
        for column in board.columns:
            cell = line.entries[column.place]
            views.append(
                shown(column.metric, cell.number, href(column.metric), scales[column.place])
                if cell.number
                else cell.shown
            )
            found |= {(shorten(line.label), cell.shown.mark, text): None for text in cell.findings}
        lines.append((head(line.model), views))
    apart = [
        (
            entry.label,
            entry.column.title,
            shown(entry.column.metric, entry.number, href(entry.column.metric)),
            entry.reason,
        )
        for entry in board.apart
    ]
    return ScoreboardView(
        anchor=anchors("data", board.data),
        results=anchors("results", board.data),
        data=board.data,
        about=about,
        axes=board.axes,
        columns=columns,
        lines=lines,
        standouts=standouts(board),
        pareto=pareto_view(board, head, anchors),
        caption=f"{writing(board)} {sorting(board)}",
        notes=_notes(found),
        apart=apart,
        suites=suites,
    )


def _notes(found: Iterable[tuple[str, str, str]]) -> list[str]:
    """Says each kind of finding once: the models, and the first message.

    Args:
        found: model, mark, and code and message.
    """
    kinds: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for model, mark, text in found:
        kinds.setdefault((mark, text.partition(":")[0]), []).append((model, text))
    notes = []
    for (mark, _), entries in kinds.items():
        models = listed(list(dict.fromkeys(model for model, _ in entries)), most=4)
        more = f" ({len(entries) - 1} more under Audits)" if len(entries) > 1 else ""
        notes.append(f"{models} {mark} {entries[0][1]}{more}")
    return notes
