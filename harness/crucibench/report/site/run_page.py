"""The page of one run, and its numbers as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crucibench.contracts.rows import COLUMNS, MetricRow
from crucibench.contracts.verdict import Severity, Status
from crucibench.report.csv_text import csv_text
from crucibench.report.findings import address_of, verdict_counts, verdict_summary
from crucibench.report.format import iso, listed
from crucibench.report.gaps import WITHHELD, not_measured
from crucibench.report.leaderboard import Column
from crucibench.report.numbers import number_of, shown
from crucibench.report.provenance import flat
from crucibench.report.site.links import data_page, model_page, number_anchor, run_page, sealed
from crucibench.report.site.render import render

if TYPE_CHECKING:
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run


def run_facts(run: Run) -> dict[str, str]:
    """Returns what a list of runs says of one."""
    counts = verdict_counts(list(run.cells.values()))
    return {
        "id": run.id,
        "href": run_page(run),
        "started": iso(run.dates.started),
        "models": listed(dict.fromkeys(model for model, _ in run.models)),
        "data": listed(run.cards),
        "cells": ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count),
    }


def run_pages(run: Run, columns: Sequence[Column], total: int) -> dict[str, str]:
    """Returns the page of a run and the CSV of its metric rows, by path.

    Args:
        run: the run.
        columns: what the suites name as their headline.
        total: how many runs the site has.
    """
    table = run.metric_table().select(COLUMNS).to_pylist()
    numbers = [number_of(row, run.id) for row in table]
    return {
        run_page(run): _html(run, numbers, columns, total),
        f"runs/{_csv_name(run)}": csv_text(COLUMNS, [list(row.values()) for row in table]),
    }


def _csv_name(run: Run) -> str:
    return run_page(run).removeprefix("runs/").replace(".html", ".csv")


def _html(run: Run, numbers: Sequence[MetricRow], columns: Sequence[Column], total: int) -> str:
    by_place = {column.place: column for column in columns}
    facts = run_facts(run)
    rows = [
        {
            "anchor": number_anchor(number),
            "model": number.model,
            "model_href": model_page(number.model),
            "data": number.data,
            "data_href": data_page(run.cards[number.data]) if number.data in run.cards else "",
            "title": by_place[number.place].heading,
            "place": number.place,
            "cell": shown(by_place[number.place].metric, number),
        }
        for number in numbers
        if number.place in by_place
    ]
    return render(
        "run.html.j2",
        root="../",
        runs_total=total,
        id=run.id,
        summary=verdict_summary(run),
        facts={
            "started": facts["started"] or "not known",
            "finished": iso(run.dates.finished) or "not known",
            "models": facts["models"],
            "data": facts["data"],
        },
        numbers=rows,
        rows=len(numbers),
        csv=_csv_name(run),
        cells=[_cell(cell) for cell in run.cells.values()],
        not_measured=not_measured(run, numbers),
        provenance=_provenance(run),
    )


def _cell(cell: CellFile) -> dict[str, Any]:
    notes = [f"{f.code}: {f.message}" for f in cell.findings if f.severity is not Severity.INFO]
    if cell.status is Status.FAILED:
        notes = [WITHHELD]
    elif cell.reason:
        notes = [cell.reason]
    outcome = str(cell.status if cell.status is not Status.OK else cell.verdict)
    return {
        "model": cell.model, "data": cell.data, "scenario": address_of(cell), "outcome": outcome,
        "n": cell.n, "notes": "; ".join(notes),
    }  # fmt: skip


def _provenance(run: Run) -> dict[str, str]:
    facts = {
        "digest of the run": run.digest,
        "crucibench": run.manifest["crucibench_version"],
    }
    facts |= {f"data {name}": sealed(card) for name, card in run.cards.items()}
    for (model, data), info in run.models.items():
        prints = "no fingerprint" if info.fingerprint is None else flat(dict(info.fingerprint))
        text = prints if isinstance(prints, str) else listed(f"{k} {v}" for k, v in prints.items())
        facts[f"model {model} on {data}"] = text
    return facts | {name: text for name, text in flat(run.environment).items() if text}
