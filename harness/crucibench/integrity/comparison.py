"""The comparison key, as the format states it: made again from the run's cards and scenarios."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Scenario
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.hashing import data_digest


def comparison_fields(run: Run, file: CellFile, scenario: Scenario, seed: int) -> dict[str, Any]:
    """Returns what two cells must share to be set side by side."""
    fields: dict[str, Any] = {
        "data": run.cards[file.data].fingerprint,
        "task": run.cards[file.data].task.identity,
        "ids": file.ids_digest,
        "scenario": {
            "address": scenario.address,
            "version": scenario.version,
            "parameters": dict(scenario.parameters),
            "points": list(scenario.points),
            "role": scenario.role,
            "limit": scenario.limit,
        },
        "seed": None if scenario.draws == "none" else seed,
        "geometry": None,
    }
    further = run.cards[file.data].further
    if read := {
        role: further[role] for role in (scenario.role, *scenario.roles) if role in further
    }:
        fields["further"] = read
    if scenario.perturbs:
        fields["geometry"] = dict(run.models[file.model, file.data].geometry)
    if scenario.on_hardware:
        fields["hardware"] = run.environment.get("hardware", {})
    return fields


def comparison_key(fields: Mapping[str, Any], metric: MetricInfo, point: str, group: str) -> str:
    """Returns the digest that a metric row carries."""
    return data_digest(
        {
            "cell": dict(fields),
            "metric": metric.id,
            "metric_version": metric.version,
            "point": point,
            "group": group,
        }
    )[:16]
