"""A number of one model over time, with its intervals, drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from crucibench.contracts.rows import MetricRow
from crucibench.report.dates import iso
from crucibench.report.format import direction_words, show_plain
from crucibench.report.leaderboard import Column

_WIDTH, _HEIGHT = 560.0, 150.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 12.0, 10.0, 24.0
_MOST = 1000


class Point(NamedTuple):
    """A number at a time."""

    time: float
    number: MetricRow


class HistoryView(NamedTuple):
    """A history of one column.

    Attributes:
        title: of the column.
        words: which way is better.
        picture: SVG.
        said: the same in words, for those who don't see it.
        note: how much of it may be compared.
    """

    title: str
    words: str
    picture: Markup
    said: str
    note: str


def history_view(column: Column, points: Sequence[Point]) -> HistoryView | None:
    """Returns the history of a column, oldest first; None with fewer than two dated values.

    Numbers of another comparison key than the newest are hollow: they stand there, and can't be
    set against it.
    """
    known = sorted(
        (point for point in points if point.number.value is not None),
        key=lambda point: (point.time, point.number.run),
    )[-_MOST:]
    if len(known) < 2:
        return None
    key = known[-1].number.key
    alike = sum(point.number.key == key for point in known)
    show = column.metric.show
    ends = (known[0], known[-1])
    said = " to ".join(f"{show(point.number)} on {iso(point.time)[:10]}" for point in ends)
    note = (
        ""
        if alike == len(known)
        else f"{len(known) - alike} of {len(known)} (hollow) are not comparable with the newest."
    )
    return HistoryView(
        title=f"{column.title} [{unit}]" if (unit := column.metric.shown_unit) else column.title,
        words=direction_words(column.metric.direction),
        picture=_picture(column, known, key),
        said=f"{len(known)} values of {column.title}, from {said}.",
        note=note,
    )


def _picture(column: Column, points: Sequence[Point], key: str) -> Markup:
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
