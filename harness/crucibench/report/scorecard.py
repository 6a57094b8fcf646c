"""The scorecard of a data set: standouts, numbers, the axes against each other; its recipes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from crucibench.comparing.claims import Claims
from crucibench.comparing.recipes import RecipeRow, recipe_rows, recipes_of
from crucibench.comparing.runs import headline_places
from crucibench.report import plots
from crucibench.report.decision import high_first, low_first, standouts
from crucibench.report.format import embedded, listed, show_number
from crucibench.report.leaderboard import Board, Column, axis_columns, pareto_front
from crucibench.report.leaderboard.shown import sorting, writing
from crucibench.report.numbers import ShownMetric, scale_of_numbers, shown
from crucibench.report.page import (
    Anchors,
    Download,
    Figure,
    MetricView,
    ModelHead,
)
from crucibench.report.plots import trainings_svg
from crucibench.store.layout import slug
from crucibench.store.run import Run
from crucibench.util.errors import CrucibenchError
from crucibench.util.text import shorten


def scorecard_view(
    board: Board,
    *,
    about: str,
    head: Callable[[str], ModelHead],
    href: Callable[[ShownMetric], str],
    anchors: Anchors,
    suites: Sequence[Mapping[str, Any]],
    claims: Claims,
) -> dict[str, Any]:
    """Makes the scorecard of a board, as its template shows it.

    Args:
        board: of one data set.
        about: the data set in a few words.
        head: of a model.
        href: the anchor of a metric's definition.
        anchors: the page's ids.
        suites: the results that follow.
        claims: what the run's models are shown to be better at.
    """
    scales = {}
    for column in board.columns:
        numbers = [line.entries[column.place].number for line in board.lines]
        scales[column.place] = scale_of_numbers(numbers)
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
    return {
        "anchor": anchors("data", board.data),
        "results": anchors("results", board.data),
        "data": board.data,
        "about": about,
        "axes": board.axes,
        "columns": columns,
        "lines": lines,
        "baselines": board.baselines,
        "standouts": standouts(board, claims),
        "pareto": _pareto_view(board, head, anchors),
        "caption": f"{writing(board)} {sorting(board)}",
        "notes": _notes(found),
        "apart": apart,
        "suites": suites,
    }


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


def _pareto_view(
    board: Board, head: Callable[[str], ModelHead], anchors: Anchors
) -> dict[str, Any] | None:
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
    return {
        "sentence": _sentence(columns, front),
        "legend": [head(line.model) for line in board.lines],
        "figures": figures,
    }


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
    board: Board, one: Column, other: Column, head: Callable[[str], ModelHead], anchors: Anchors
) -> Figure | None:
    front = pareto_front(board, (one, other))
    dots, described, rows = [], [], []
    for line in board.lines:
        pair = [line.entries[column.place].number for column in (one, other)]
        known = [number for number in pair if number is not None and number.value is not None]
        if line.label not in front or len(known) < 2:
            continue
        along, up = zip((one.metric, other.metric), known, strict=True)
        (x, x_ends), (y, y_ends) = (metric.scaled(number) for metric, number in (along, up))
        on_front = front[line.label]
        colour = head(line.model).colour or 0
        dots.append(plots.Dot(colour=colour, x=x, y=y, x_ends=x_ends, y_ends=y_ends,
                              filled=on_front))  # fmt: skip
        texts = " and ".join(metric.show(number).value for metric, number in (along, up))
        described.append(f"{shorten(line.label)} at {texts}{'' if on_front else ', dominated'}")
        rows.append([line.label, x, *(x_ends or ("", "")), y, *(y_ends or ("", "")), on_front])
    if len(dots) < 2:
        return None
    names = [_axis(column) for column in (one, other)]
    columns = [f"{side} {end}".strip() for side in names for end in ("", "lower", "upper")]
    alt = f"Scatter plot of {names[1]} against {names[0]}. {'; '.join(described[:12])}."
    return Figure(
        svg=Markup(plots.scatter_svg(dots, x=names[0], y=names[1], alt=alt)),
        title=f"{high_first(other.title)} against {low_first(one.title)}",
        caption="",
        legend=[],
        data=Download(
            href=embedded(["model", *columns, "on front"], rows),
            name=f"{slug(board.data)}-{slug(other.title)}.csv",
        ),
    )


def _axis(column: Column) -> str:
    unit = column.metric.shown_unit
    title = high_first(column.title)
    return f"{title} [{unit}]" if unit else title


SOURCES = {"training": "training", "samples": "samples", "residual": "both", "repeat": "askings"}
"""What the parts of a variance are called: of trainings, of samples, of what they do together for
each sample and training, and of what is drawn in each asking."""


def recipe_views(run: Run, metrics: Mapping[tuple[str, str], ShownMetric]) -> list[dict[str, Any]]:
    """Returns the headline numbers of a run's recipes, in the order of data and suites.

    Each has ``data``, ``recipe`` (without ``@recipe``), ``metric`` with its scenario, ``trainings``
    (how many it is the mean of) and, as text that may be empty, ``value``, ``interval``, ``spread``
    (the SD between trainings with its interval), ``reason`` (why something is missing) and
    ``picture`` (SVG).
    """
    places = {place: position for position, place in enumerate(headline_places(run))}
    try:
        rows = [one for one in recipe_rows(run) if one.row.place in places]
    except CrucibenchError as error:
        # A report must come out whatever is wrong with a suite's numbers, and say so.
        nothing = dict.fromkeys(("metric", "value", "interval", "spread", "picture"), "")
        return [
            {**nothing, "data": data, "recipe": recipe.name, "reason": str(error),
             "trainings": len(recipe.trainings)}
            for (_, data), recipe in recipes_of(run).items()
        ]  # fmt: skip
    rows.sort(key=lambda one: (one.row.data, one.row.model, places[one.row.place]))
    return list(_views(rows, metrics))


def _views(
    rows: Iterable[RecipeRow], metrics: Mapping[tuple[str, str], ShownMetric]
) -> Iterable[dict[str, Any]]:
    for one in rows:
        row, address = one.row, one.row.address
        metric = metrics[address.suite, address.metric]
        where = f"{address.suite}/{address.scenario}" + (
            f" {address.point}" if address.point else ""
        )
        name = f"{metric.name}, {where}"
        value = interval = spread = ""
        if row.value is not None:
            found = metric.show(row)
            value = " ".join(filter(None, (found.value, metric.shown_unit)))
            interval = found.interval
        if one.parts is not None and one.parts.training is not None:
            ends = (one.parts.training, one.parts.training_lower, one.parts.training_upper)
            deviations = (math.sqrt(end) for end in ends if end is not None)
            shown = show_number(*deviations, percent=metric.percent)
            spread = f"{shown.value} {shown.interval}"
        yield {
            "data": row.data, "recipe": address.model.rpartition("@")[0], "metric": name,
            "value": value, "interval": interval, "trainings": len(one.trainings),
            "spread": spread, "reason": row.reason, "picture": _picture(one, metric, name),
        }  # fmt: skip


def _picture(one: RecipeRow, metric: ShownMetric, name: str) -> Markup:
    if not one.trainings:
        return Markup("")
    factor, ends = metric.factor, one.row.interval
    parts = one.parts
    variances = [] if parts is None else [getattr(parts, name) for name in SOURCES]
    # Escaped where it is drawn.
    return Markup(
        trainings_svg(
            [factor * training.value for training in one.trainings],
            None if ends is None else (factor * ends[0], factor * ends[1]),
            [
                (shown, variance)
                for shown, variance in zip(SOURCES.values(), variances, strict=False)
                if variance is not None
            ],
            x=" ".join(filter(None, (metric.name, metric.shown_unit))),
            alt=f"{name}: {len(one.trainings)} trainings of one recipe",
        )
    )
