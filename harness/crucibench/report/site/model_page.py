"""The pages of models: every version that was measured, and its numbers over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crucibench.contracts.rows import MetricRow
from crucibench.report.dates import iso
from crucibench.report.format import DASH
from crucibench.report.leaderboard import Column
from crucibench.report.leaderboard.lines import FIELDS, words
from crucibench.report.numbers import ShownNumber, shown
from crucibench.report.site.history import HistoryView, Point, history_view
from crucibench.report.site.links import data_page, model_page, number_link, run_page
from crucibench.report.site.render import render
from crucibench.util.hashing import data_digest

if TYPE_CHECKING:
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.store.run import Run


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
            ShownNumber(reason="not measured")
            if (number := one.numbers.get(column.place)) is None
            else shown(column.metric, number, number_link(number, one.run))
            for column in columns
        ],
    }


def _history(column: Column, entries: Sequence[_Measured]) -> HistoryView | None:
    points = [
        Point(one.run.dates.started, one.numbers[column.place])
        for one in entries
        if one.run.dates.started is not None and column.place in one.numbers
    ]
    return history_view(column, points)
