"""The columns of boards: those asked for, or what the suites name as their headline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crucibench.contracts.rows import Address, parse_address
from crucibench.report.leaderboard.board import Column
from crucibench.report.numbers import Metric, declared_metrics, numbers_of, place
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.store.run import Run


def columns_of(runs: Sequence[Run], asked: Sequence[str] | None) -> list[Column]:
    """Returns the columns asked for, by default the headline of each suite.

    Raises:
        InputError: if what is asked for is no address.
    """
    axes: dict[str, str] = {}
    headline: dict[str, None] = {}
    metrics: dict[tuple[str, str], Metric] = {}
    for run in runs:
        for suite, info in run.suites.items():
            axes.setdefault(suite, info.get("axis") or suite)
            headline |= {f"{suite}/{entry}": None for entry in info.get("headline", [])}
        metrics = declared_metrics(run.suites) | metrics
    measured = _measured(runs) if asked is None else frozenset()
    columns = []
    for name in headline if asked is None else dict.fromkeys(asked):
        try:
            address = parse_address(f"any:{name}")
        except ValueError as error:
            raise InputError(
                f"column {name!r}: expected SUITE/SCENARIO[POINT]/METRIC[@GROUP]"
            ) from error
        # What nobody measured needs no column, and no words to tell others from it.
        if asked is None and address[1:] not in measured:
            continue
        suite = address.suite
        metric = metrics.get((suite, address.metric)) or Metric(
            suite=suite, id=address.metric, name=address.metric
        )
        columns.append((address, metric, axes.get(suite, suite)))
    return [
        Column(place=place(address), axis=axis, metric=metric, context=_context(address, columns))
        for address, metric, axis in columns
    ]


def _measured(runs: Sequence[Run]) -> frozenset[tuple[str, ...]]:
    """Returns the addresses without their model of all metric rows."""
    parts = list(Address._fields[1:])
    return frozenset(
        row
        for run in runs
        for row in run.metrics()[parts]
        .fillna("")
        .drop_duplicates()
        .itertuples(index=False, name=None)
    )


def _context(address: Address, columns: Sequence[tuple[Address, Metric, str]]) -> str:
    twins = [
        other
        for other, _, _ in columns
        if (other.suite, other.metric) == (address.suite, address.metric) and other != address
    ]
    if not twins:
        return ""
    parts = [
        getattr(address, name)
        for name in ("scenario", "point", "group")
        if any(getattr(twin, name) != getattr(address, name) for twin in twins)
    ]
    return " ".join(part for part in parts if part)


def require_rows(runs: Sequence[Run], wanted: Sequence[Column]) -> None:
    """Raises `InputError` if no run has a number of a column."""
    places = {number.place for run in runs for number in numbers_of(run)}
    for column in wanted:
        if column.place not in places:
            raise InputError(unknown("column", column.place, places))


def headline_rows(run: Run, wanted: Sequence[Column]) -> pd.DataFrame:
    """Returns the run's metric rows that belong to a column."""
    frame = run.metrics()
    addresses = [parse_address(f"any:{column.place}") for column in wanted]
    keys = {(a.suite, a.scenario, a.point, a.metric, a.group) for a in addresses}
    parts = [frame[name].fillna("") for name in ("suite", "scenario", "point", "metric", "group")]
    wanted_rows = np.fromiter((key in keys for key in zip(*parts, strict=True)), bool, len(frame))
    return frame.loc[wanted_rows]
