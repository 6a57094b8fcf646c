"""The plan in words: what will run, and what will not and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.cli._output import Table
from crucibench.engine.inspect import Inspection
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.plan.requests import planned_requests
from crucibench.engine.resolve.resolve import Resolved

_PASS = "pass"
_CELL_COLUMNS = (
    "model", "data", "suite", "scenario", "role", "kind", "points", "samples", "status", "reason",
    "cell",
)  # fmt: skip
_SUITE_COLUMNS = ("model", "data", "suite", "cells", "samples", "points", "skipped")
_REQUEST_COLUMNS = ("model", "requests", "samples a request", "max_requests")
_IDLE_COLUMNS = ("model", "data", "what", "why")
_KEPT_COLUMNS = ("what is asked again by every run",)


def plan_document(resolved: Resolved, plan: Plan, inspection: Inspection) -> dict[str, Any]:
    """Returns a plan as plain data."""
    return {
        "run": resolved.run_id,
        "preset": resolved.spec.defaults.preset,
        "seed": resolved.spec.defaults.seed,
        "cells": [dict(zip(_CELL_COLUMNS, row, strict=True)) for row in _cell_rows(plan)],
        "not_applicable": [
            {"model": model, "data": data, "suite": suite, "reason": reason}
            for (model, data, suite), reason in plan.not_applicable.items()
        ],
        "not_inspected": [
            {"model": model, "data": data, "reason": str(error)}
            for (model, data), error in inspection.errors.items()
        ],
        "not_cached": [
            {"model": model, "reason": reason} for model, reason in _unidentified(plan).items()
        ],
        "requests": [
            {"model": entry.model, "requests": entry.requests, "batch": entry.batch,
             "max_requests": entry.allowed}
            for entry in planned_requests(resolved, plan)
        ],
    }  # fmt: skip


def plan_tables(
    resolved: Resolved, plan: Plan, inspection: Inspection, *, long: bool = False
) -> list[Table]:
    """Returns a plan as tables: what runs, then what does not; `long` has a row a cell."""
    if long:
        return [Table(columns=_CELL_COLUMNS, rows=[*_cell_rows(plan), *_other_rows(plan)])]
    title = (
        f"Plan of run {resolved.run_id}: preset {resolved.spec.defaults.preset}, "
        f"seed {resolved.spec.defaults.seed}"
    )
    tables = [Table(title=title, columns=_SUITE_COLUMNS, rows=_suite_rows(plan))]
    asked = [
        [entry.model, entry.requests, entry.batch, entry.allowed]
        for entry in planned_requests(resolved, plan)
    ]
    if asked:
        title = "Requests to servers, about"
        tables.append(Table(title=title, columns=_REQUEST_COLUMNS, rows=asked))
    unknown = [[f"not cached: {name}: {why}"] for name, why in _unidentified(plan).items()]
    if unknown:
        title = "No other run takes over what these models answer"
        tables.append(Table(title=title, columns=_KEPT_COLUMNS, rows=unknown, headless=True))
    idle = _idle_rows(plan, inspection)
    if idle:
        tables.append(Table(title="Not run", columns=_IDLE_COLUMNS, rows=idle))
    return tables


def _unidentified(plan: Plan) -> dict[str, str]:
    """Returns why models have no fingerprint, by model, of those that are asked."""
    return {
        cell.model.name: cell.model.unidentified or "it has no fingerprint"
        for cell in plan
        if cell.model.fingerprint is None and not cell.skip
    }


def _suite_rows(plan: Plan) -> list[list[Any]]:
    found: dict[tuple[str, str, str], list[PlannedCell]] = {}
    for cell in plan:
        key = (cell.model.name, cell.data.name, cell.scenario.suite)
        found.setdefault(key, []).append(cell)
    rows = []
    met = list(dict.fromkeys(key[:2] for key in found))
    order = sorted(found, key=lambda key: (met.index(key[:2]), key[2] != _PASS))
    for model, data, suite in order:
        cells = found[model, data, suite]
        running = [cell for cell in cells if not cell.skip]
        rows.append(
            [
                model, data, _suite_words(suite, running), len(running),
                sum(cell.samples for cell in running if cell.kind == "mapped") or None,
                sum(len(cell.scenario.points) for cell in running),
                len(cells) - len(running) or None,
            ]
        )  # fmt: skip
    return rows


def _suite_words(suite: str, cells: list[PlannedCell]) -> str:
    if suite != _PASS:
        return suite
    repeat = cells[0].model.repeat if cells else 1
    times = f", asked {repeat} times" if repeat > 1 else ""
    return f"forward pass: {', '.join(cell.scenario.role for cell in cells)}{times}"


def _idle_rows(plan: Plan, inspection: Inspection) -> list[list[Any]]:
    rows = [
        [model, data, "the model", str(error)] for (model, data), error in inspection.errors.items()
    ]
    rows += [
        [model, data, f"suite {suite}", reason]
        for (model, data, suite), reason in plan.not_applicable.items()
    ]
    rows += [
        [cell.model.name, cell.data.name, cell.scenario.address, cell.skip]
        for cell in plan
        if cell.skip
    ]
    return rows


def _cell_rows(plan: Plan) -> list[list[Any]]:
    return [
        [
            cell.model.name, cell.data.name, cell.scenario.suite, cell.scenario.name,
            cell.scenario.role, cell.kind, list(cell.scenario.points), cell.samples,
            "skipped" if cell.skip else "planned", cell.skip, cell.id,
        ]
        for cell in plan
    ]  # fmt: skip


def _other_rows(plan: Plan) -> list[list[Any]]:
    facts: Mapping[str, Any] = dict.fromkeys(_CELL_COLUMNS)
    return [
        list({**facts, "model": model, "data": data, "suite": suite, "status": "not applicable",
              "reason": reason}.values())
        for (model, data, suite), reason in plan.not_applicable.items()
    ]  # fmt: skip
