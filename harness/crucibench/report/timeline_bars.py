"""Bars of a timeline: which columns of a line a cell takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from crucibench.report.timeline import CellTimes, Interval, Timeline

Mark = Literal["work", "wait", "pause", "idle"]
"""A column of a bar: a task ran; the cell was begun and not ended; nothing ran at all; none."""


def bar(times: Timeline, cell: CellTimes | None, width: int) -> list[Mark]:
    """Returns the bar of a cell, or an empty one: a mark a column, `width` in all.

    A pause takes one column, however long it was, so that a run that was resumed days later can
    still be read; no column belongs to the times on both sides of it. The others are shared out by
    length, at least one to each time between two pauses. Where there are too many pauses for that,
    all columns are equally long and a pause is a time in which nothing ran.
    """
    pauses = times.pauses if 2 * len(times.pauses) < width else ()
    starts = [0.0, *(pause.end for pause in pauses)]
    ends = [*(pause.start for pause in pauses), times.end]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    marks: list[Mark] = []
    for start, end, columns in zip(
        starts, ends, _shared_out(width - len(pauses), lengths), strict=True
    ):
        if marks:
            marks.append("pause")
        part: list[Mark] = ["idle"] * columns
        if cell is not None:
            _paint(part, "wait", (start, end), cell.spans)
            _paint(part, "work", (start, end), cell.work)
        marks += part
    return marks


def _paint(marks: list[Mark], mark: Mark, stretch: Interval, intervals: Iterable[Interval]) -> None:
    begun, ended = stretch
    scale = len(marks) / (ended - begun) if ended > begun else 0.0
    for start, end in intervals:
        if end < begun or start > ended:
            continue
        first = min(int((max(start, begun) - begun) * scale), len(marks) - 1)
        # What is shorter than a column takes one.
        last = max(first + 1, min(math.ceil((end - begun) * scale), len(marks)))
        marks[first:last] = [mark] * (last - first)


def _shared_out(columns: int, lengths: Sequence[float]) -> list[int]:
    """Returns how many columns each length gets: one, and a share of the rest."""
    whole = sum(lengths)
    rest = columns - len(lengths)
    exact = [rest * length / whole if whole > 0 else 0.0 for length in lengths]
    shares = [1 + int(share) for share in exact]
    by_fraction = sorted(range(len(exact)), key=lambda place: int(exact[place]) - exact[place])
    for number in range(columns - sum(shares)):
        shares[by_fraction[number % len(shares)]] += 1
    return shares
