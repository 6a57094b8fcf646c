"""The pages of models: every version that was measured, and its numbers over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from crucibench.contracts.rows import MetricRow
from crucibench.report.format import DASH, direction_words, iso, show_plain
from crucibench.report.leaderboard import Column
from crucibench.report.leaderboard.lines import FIELDS, words
from crucibench.report.numbers import shown
from crucibench.report.site.links import data_page, model_page, number_link, run_page
from crucibench.report.site.render import render
from crucibench.util.hashing import data_digest

if TYPE_CHECKING:
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.store.run import Run


_WIDTH, _HEIGHT = 560.0, 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 10.0, 24.0
_MOST = 1000


class _Point(NamedTuple):
    """A number at a time."""

    time: float
    number: MetricRow


class HistoryView(NamedTuple):
    """A history of one column.

    Attributes:
        title: of the column.
        words: which way is better.
        picture: SVG.
        alt: the same in words, for those who don't see it.
        note: how much of it may be compared.
    """

    title: str
    words: str
    picture: Markup
    alt: str
    note: str


class _Measured(NamedTuple):
    """A model on a data set in one run."""

    run: Run
    data: str
    info: ModelInfo
    numbers: Mapping[str, MetricRow]


def model_pages(
    runs: Sequence[Run],
    headlines: Mapping[str, Sequence[MetricRow]],
    columns: Sequence[Column],
    total: int,
) -> dict[str, str]:
    """Returns the page of every model by its path.

    Args:
        runs: the runs.
        headlines: the numbers of the columns, by the page of the run.
        columns: what the suites name as their headline.
        total: how many runs the site has.
    """
    measured: dict[str, list[_Measured]] = {}
    for run in runs:
        numbers: dict[tuple[str, str], dict[str, MetricRow]] = {}
        for number in headlines[run_page(run)]:
            numbers.setdefault((number.model, number.data), {})[number.place] = number
        for (model, data), info in run.models.items():
            if data in run.cards:
                one = _Measured(run, data, info, numbers.get((model, data), {}))
                measured.setdefault(model, []).append(one)
    return {
        model_page(model): _page(model, entries, columns, total)
        for model, entries in measured.items()
    }


def _page(model: str, entries: Sequence[_Measured], columns: Sequence[Column], total: int) -> str:
    newest = max(entries, key=lambda one: one.run.dates.started or 0.0).info
    card = {"address": newest.uri}
    card |= {
        name.replace("_", " "): words(newest.card[name]) for name in FIELDS if newest.card.get(name)
    }
    by_data: dict[str, list[_Measured]] = {}
    for one in entries:
        by_data.setdefault(one.data, []).append(one)
    return render(
        "model.html.j2",
        root="../",
        runs_total=total,
        model=model,
        card=card,
        parts=[_part(data, found, columns) for data, found in by_data.items()],
    )


def _part(data: str, entries: Sequence[_Measured], columns: Sequence[Column]) -> dict[str, Any]:
    here = [column for column in columns if any(column.place in one.numbers for one in entries)]
    entries = sorted(entries, key=lambda one: -(one.run.dates.started or 0.0))
    return {
        "data": data,
        "href": data_page(entries[0].run.cards[data]),
        "columns": here,
        "rows": [_row(one, here) for one in entries],
        "histories": [view for column in here if (view := _history(column, entries))],
    }


def _row(one: _Measured, columns: Sequence[Column]) -> dict[str, Any]:
    prints = one.info.fingerprint
    return {
        "run": one.run.id,
        "href": run_page(one.run),
        "started": iso(one.run.dates.started),
        "fingerprint": DASH if prints is None else data_digest(dict(prints))[:12],
        "cells": [
            shown(column.metric, number, number_link(number, one.run) if number else "")
            for column in columns
            for number in [one.numbers.get(column.place)]
        ],
    }


def _history(column: Column, entries: Sequence[_Measured]) -> HistoryView | None:
    """Returns the history of a column, oldest first; None with fewer than two dated values.

    Numbers of another comparison key than the newest are hollow: they stand there, and can't be
    set against it.
    """
    points = [
        _Point(one.run.dates.started, number)
        for one in entries
        if (number := one.numbers.get(column.place)) is not None
        and number.value is not None
        and one.run.dates.started is not None
    ]
    known = sorted(points, key=lambda point: (point.time, point.number.run))[-_MOST:]
    if len(known) < 2:
        return None
    key = known[-1].number.key
    alike = sum(point.number.key == key for point in known)
    show = column.metric.show
    ends = (known[0], known[-1])
    alt = " to ".join(f"{show(point.number)} on {iso(point.time)[:10]}" for point in ends)
    note = (
        ""
        if alike == len(known)
        else f"{len(known) - alike} of {len(known)} (hollow) are not comparable with the newest."
    )
    return HistoryView(
        title=f"{column.title} [{unit}]" if (unit := column.metric.shown_unit) else column.title,
        words=direction_words(column.metric.direction),
        picture=_picture(column, known, key),
        alt=f"{len(known)} values of {column.title}, from {alt}.",
        note=note,
    )


def _picture(column: Column, points: Sequence[_Point], key: str) -> Markup:
    values = [
        end
        for point in points
        for end in (point.number.value, point.number.lower, point.number.upper)
        if end is not None and math.isfinite(end)
    ]
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    pad = (high - low or abs(high) or 1.0) * 0.08
    low, high = low - pad, high + pad
    first, last = points[0].time, points[-1].time

    def x(time: float) -> float:
        share = (time - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    factor = 100.0 if column.metric.percent else 1.0
    parts = []
    for value in (low + pad, high - pad):
        at = y(value)
        parts.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}"/>')
        text = show_plain(float(f"{factor * value:.3g}"))
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    days = [iso(time)[:10] for time in (first, last)]
    if days[0] == days[1]:
        days = [f"{day} {iso(time)[11:16]}" for day, time in zip(days, (first, last), strict=True)]
    for time, day, anchor in zip((first, last), days, ("start", "end"), strict=True):
        parts.append(
            f'<text x="{x(time):.1f}" y="{_HEIGHT - 6}" text-anchor="{anchor}">{day}</text>'
        )
    for point in points:
        number, across = point.number, x(point.time)
        if number.value is None or not math.isfinite(number.value):
            continue
        if number.interval is not None and all(map(math.isfinite, number.interval)):
            bottom, top = map(y, number.interval)
            parts.append(f'<path class="span" d="M{across:.1f} {bottom:.1f}V{top:.1f}"/>')
        kind = "" if number.key == key else ' class="other"'
        parts.append(f'<circle{kind} cx="{across:.1f}" cy="{y(number.value):.1f}" r="3"/>')
    box = f'viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}"'
    # Every part is made of numbers and dates alone.
    return Markup(f'<svg class="history" {box} aria-hidden="true">{"".join(parts)}</svg>')
