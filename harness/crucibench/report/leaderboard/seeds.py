"""How far models apart lie that differ by their training seed alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from crucibench.contracts.verdict import Verdict
from crucibench.report.leaderboard.board import Column, Line, Spread


def spreads_of(columns: Sequence[Column], lines: Sequence[Line]) -> tuple[Spread, ...]:
    """Returns the spread of each group of two seeds or more, in each column.

    Numbers that are invalid, missing or of rows that no longer count are left out.
    """
    groups: dict[str, list[Line]] = {}
    for line in lines:
        if line.about.group and line.about.retired is None:
            groups.setdefault(line.about.group, []).append(line)
    spreads = []
    for group, members in groups.items():
        for column in columns:
            numbers = [line.entries[column.place].number for line in members]
            known = [
                number
                for number in numbers
                if number is not None
                and number.value is not None
                and number.verdict is not Verdict.INVALID
            ]
            values = [number.value for number in known if number.value is not None]
            if len(values) < 2:
                continue
            halves = [(i[1] - i[0]) / 2 for number in known if (i := number.interval) is not None]
            spreads.append(
                Spread(
                    group=group, column=column, seeds=len(values), mean=statistics.fmean(values),
                    deviation=statistics.stdev(values), lowest=min(values), highest=max(values),
                    half_width=statistics.fmean(halves) if halves else None,
                )
            )  # fmt: skip
    return tuple(spreads)
