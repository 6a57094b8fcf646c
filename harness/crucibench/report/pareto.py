"""A board's axes against each other: where one model can be had only at the price of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from crucibench.contracts.rows import MetricRow
from crucibench.report import plots
from crucibench.report.csv_text import embedded
from crucibench.report.format import listed
from crucibench.report.leaderboard import (
    Board,
    Column,
    Line,
    axis_columns,
    pareto_front,
)
from crucibench.report.page import Anchors, Download, Figure, ModelHead
from crucibench.report.standouts import high_first, low_first
from crucibench.store.layout import slug
from crucibench.util.text import shorten

Head = Callable[[str], ModelHead]


@dataclass(frozen=True, kw_only=True)
class ParetoView:
    """Axes of a board against each other."""

    sentence: str
    legend: Sequence[ModelHead]
    figures: Sequence[Figure]


def pareto_view(board: Board, head: Head, anchors: Anchors) -> ParetoView | None:
    """Plots the first axis against each other one; None where there are no two to compare."""
    columns = axis_columns(board)
    figures = [
        figure
        for column in columns[1:]
        if (figure := _figure(board, columns[0], column, head, anchors)) is not None
    ]
    if not figures:
        return None
    front = pareto_front(board, columns)
    return ParetoView(
        sentence=_sentence(columns, front),
        legend=[head(line.model) for line in board.lines],
        figures=figures,
    )


def _sentence(columns: Sequence[Column], front: dict[str, bool]) -> str:
    axes = listed(low_first(column.title) for column in columns)
    if not front:
        return f"No model has a number in each of {axes}: there is no front over all axes."
    best = listed(name for name, on_front in front.items() if on_front)
    behind = [name for name, on_front in front.items() if not on_front]
    text = f"Over {axes} together, by the values alone, no other model is better all round than: "
    text += f"{best}."
    return f"{text} Dominated: {listed(behind)}." if behind else text


def _figure(
    board: Board, one: Column, other: Column, head: Head, anchors: Anchors
) -> Figure | None:
    front = pareto_front(board, (one, other))
    dots, said, rows = [], [], []
    for line in board.lines:
        pair = [_number(line, column) for column in (one, other)]
        if line.label not in front or None in pair:
            continue
        x, y = (_Shown(column, number) for column, number in zip((one, other), pair, strict=True)
                if number is not None)  # fmt: skip
        dots.append(
            plots.Dot(
                colour=head(line.model).colour or 0, x=x.value, y=y.value, x_ends=x.ends,
                y_ends=y.ends, filled=front[line.label],
            )
        )  # fmt: skip
        name = shorten(line.label)
        said.append(f"{name} at {x.text} and {y.text}{'' if front[line.label] else ', dominated'}")
        rows.append([line.label, x.value, *(x.ends or ("", "")), y.value, *(y.ends or ("", "")),
                     front[line.label]])  # fmt: skip
    if len(dots) < 2:
        return None
    names = [_axis(column) for column in (one, other)]
    columns = [f"{side} {end}".strip() for side in names for end in ("", "lower", "upper")]
    alt = f"Scatter plot of {names[1]} against {names[0]}. {'; '.join(said[:12])}."
    key = anchors("pareto", board.data, one.place, other.place)
    return Figure(
        svg=Markup(plots.scatter_svg(dots, x=names[0], y=names[1], key=key, alt=alt)),
        title=f"{high_first(other.title)} against {low_first(one.title)}",
        caption="",
        legend=[],
        data=Download(
            href=embedded(["model", *columns, "on front"], rows),
            name=f"{slug(board.data)}-{slug(other.title)}.csv",
        ),
    )


def _number(line: Line, column: Column) -> MetricRow | None:
    number = line.entries[column.place].number
    return number if number is not None and number.value is not None else None


class _Shown:
    """A number in the unit in which it is shown."""

    def __init__(self, column: Column, number: MetricRow) -> None:
        metric = column.metric
        factor = 100.0 if metric.percent else 1.0
        assert number.value is not None
        self.value = factor * number.value
        self.text = metric.show(number).value
        ends = number.interval
        self.ends = None if ends is None else (factor * ends[0], factor * ends[1])


def _axis(column: Column) -> str:
    unit = column.metric.shown_unit
    title = high_first(column.title)
    return f"{title} [{unit}]" if unit else title
