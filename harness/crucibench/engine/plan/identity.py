"""The two digests of a cell, and the fields of its comparison key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.metric import MetricInfo
from crucibench.engine.plan.plan import PlannedCell
from crucibench.installed_code import collecting_code
from crucibench.util.hashing import data_digest


def identity_fields(cell: PlannedCell, seed: int, needs: Mapping[str, str]) -> dict[str, Any]:
    """Returns all that gives the cell's records their meaning.

    Args:
        cell: the cell.
        seed: of every draw.
        needs: alias to `meaning` of the cell that is needed.
    """
    fingerprint = cell.model.fingerprint
    return {
        "model": {"unknown": cell.model.name} if fingerprint is None else dict(fingerprint),
        # Fingerprints of two kinds of model say nothing about each other.
        "scheme": cell.model.uri.partition(":")[0],
        "variant": cell.model.variant,
        "score_kind": cell.model.score_kind,
        "geometry": dict(cell.model.geometry),
        **_data_fields(cell),
        "groups": dict(cell.data.group_digests),
        "task": cell.data.task.as_dict(),
        "scenario": _scenario_fields(cell),
        "outputs": sorted(cell.outputs),
        "needs": dict(needs),
        "seed": seed,
    }


def meaning(identity: Mapping[str, Any]) -> str:
    """Returns the digest of identity fields less what a pass was asked for.

    A pass with more outputs is the same pass: it serves whoever needs fewer.
    """
    return data_digest({key: value for key, value in identity.items() if key != "outputs"})


def numerics_fields(cell: PlannedCell, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what moves floats without changing what is meant to be asked.

    Code is among it and not in the comparison key: of two sides that differ in code, and not in
    the version that a scenario declares, `compare` tells the difference.
    """
    return {
        "batch_size": cell.batch_size,
        "model": dict(cell.model.numerics),
        "python": environment.get("python"),
        "versions": dict(environment.get("versions", {})),
        "threads": environment.get("threads"),
        "machine": environment.get("hardware", {}).get("machine"),
        "code": collecting_code(
            cell.scenario.suite,
            cell.model.uri.partition(":")[0],
            {**cell.scenario.parameters, "task": cell.data.task.kind},
        ),
    }


def comparison_fields(
    cell: PlannedCell, seed: int, ids_digest: str, environment: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what two cells must share to be set side by side: not the model."""
    fields: dict[str, Any] = {
        **_data_fields(cell),
        "task": cell.data.task.identity,
        "ids": ids_digest,
        "scenario": _scenario_fields(cell),
        "seed": seed if cell.scenario.draws != "none" else None,
        "geometry": dict(cell.model.geometry) if cell.scenario.perturbs else None,
    }
    if cell.scenario.on_hardware:
        fields["hardware"] = environment.get("hardware", {})
    groups = cell.data.group_digests.get(cell.scenario.role)
    if groups and cell.scenario.reads_groups:
        fields["groups"] = groups
    return fields


def comparison_key(fields: Mapping[str, Any], metric: MetricInfo, point: str, group: str) -> str:
    """Returns the digest that a metric row carries."""
    key = {
        "cell": dict(fields),
        "metric": metric.id,
        "metric_version": metric.version,
        "point": point,
        "group": group,
    }
    return data_digest(key)[:16]


def _data_fields(cell: PlannedCell) -> dict[str, Any]:
    """Returns the digest of the main data set, and those of the roles of suites that are read."""
    scenario, known = cell.scenario, cell.data.role_fingerprints
    read = {role: known[role] for role in (scenario.role, *scenario.roles) if role in known}
    fields: dict[str, Any] = {"data": cell.data.fingerprint}
    fields |= {"blocks": cell.data.block} if cell.data.block else {}
    return fields | ({"role_fingerprints": read} if read else {})


def _scenario_fields(cell: PlannedCell) -> dict[str, Any]:
    scenario = cell.scenario
    return {
        "address": scenario.address,
        "version": scenario.version,
        "parameters": dict(scenario.parameters),
        "points": list(scenario.points),
        "role": scenario.role,
        "limit": cell.limit,
    }
