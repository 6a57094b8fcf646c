"""Makes the cell files of a plan, their digests and comparison keys, and descriptions of suites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Timed, needs_of
from crucibench.contracts.suite import Suite
from crucibench.contracts.verdict import Status
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.resolve.resolve import Resolved
from crucibench.engine.resolve.suites import unknown_sections
from crucibench.installed_code import collecting_code
from crucibench.store.cells import CellFile, Digest
from crucibench.util.errors import InputError
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
        **({"decision": dict(cell.model.decision.__dict__)} if cell.scenario.decides else {}),
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


def planned_file(cell: PlannedCell, **facts: Any) -> CellFile:
    """Returns the file of a planned cell."""
    scenario = cell.scenario
    return CellFile(
        cell=cell.id, kind=cell.kind, model=cell.model.name, data=cell.data.name,
        suite=scenario.suite, scenario=scenario.name, version=scenario.version,
        role=scenario.role, points=list(scenario.points), parameters=dict(scenario.parameters),
        draws=scenario.draws, needs=dict(cell.needs), limit=cell.limit,
        outputs=sorted(cell.outputs), n=cell.samples, **facts,
    )  # fmt: skip


def suites_as_data(resolved: Resolved, plan: Plan) -> dict[str, Any]:
    """Returns how leaderboard and report show each suite, and where one does not apply."""
    found: dict[str, Any] = {}
    for name, entry in resolved.suites.items():
        declared = {metric.id: metric for metric in entry.suite.metrics}
        headline = dict.fromkeys(entry.suite.headline)
        for cell in plan:
            if cell.scenario.suite == name:
                declared |= {metric.id: metric for metric in cell.scenario.metrics}
                headline |= dict.fromkeys(
                    f"{cell.scenario.name}/{metric}" for metric in cell.scenario.headline_metrics
                )
        metrics = [
            {key: value for key, value in asdict(metric).items() if _finite(value)}
            for _, metric in sorted(declared.items())
        ]
        found[name] = {
            "axis": entry.suite.axis,
            "description": entry.suite.description,
            "headline": list(headline),
            "risks": {risk: list(patterns) for risk, patterns in entry.suite.risks.items()},
            "sections": [asdict(section) for section in entry.suite.sections],
            "metrics": metrics,
            "not_applicable": [
                {"model": model, "data": data, "reason": reason}
                for (model, data, suite), reason in plan.not_applicable.items()
                if suite == name
            ],
        }
        if of_data := _sections_of_data(entry.suite, plan):
            found[name]["sections_of_data"] = of_data
    return found


def _sections_of_data(suite: Suite, plan: Plan) -> dict[str, Any]:
    """Returns the sections of each data set whose kind of task has its own in the suite.

    Raises:
        InputError: if no installed package registers the kind of a section.
    """
    found: dict[str, Any] = {}
    for cell in plan:
        task = cell.data.task
        if not suite.sections_by_task or cell.scenario.suite != suite.name:
            continue
        for sentence in unknown_sections(task.definition.sections):
            raise InputError(f"task {task.kind!r}, {sentence}")
        if task.definition.sections:
            found[cell.data.name] = [asdict(section) for section in task.definition.sections]
    return found


def _finite(value: Any) -> bool:
    # JSON has no infinity: an unbounded metric has no bound.
    return value not in {float("inf"), float("-inf")} if isinstance(value, float) else True


Ids = Callable[[str, str, int | None], str]
"""(data, role, limit) to the digest of the ids that are asked about."""


class PlannedFiles:
    """Makes the files of a plan's cells."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        environment: Mapping[str, Any],
        ids: Ids,
        observed: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Takes a plan and what its cells depend on.

        Args:
            plan: the plan.
            seed: of every draw.
            environment: of the run.
            ids: digests of the samples' ids.
            observed: by model, what its code was seen to read, as `Inspection.observed` has it:
                part of what the cache finds a cell by, and written to no file of the run.
        """
        self._cells = {cell.id: cell for cell in plan}
        self._seed = seed
        self._environment = environment
        self._ids = ids
        self._observed = observed
        self._digests: dict[tuple[str, str, int | None], str] = {}
        self._identities: dict[str, dict[str, Any]] = {}
        self._numerics: dict[str, str] = {}

    def file(self, cell: PlannedCell) -> CellFile:
        """Returns the file of a cell that is to be collected, or skipped."""
        ids = self._ids_digest(cell)
        return planned_file(
            cell, status=Status.SKIPPED if cell.skip else Status.OK, reason=cell.skip,
            ids_digest=ids,
            comparison=comparison_fields(cell, self._seed, ids, self._environment),
            identity=Digest.of(self.identity(cell)),
            numerics=Digest.of(numerics_fields(cell, self._environment)),
        )  # fmt: skip

    def meaning(self, cell: PlannedCell) -> str | None:
        """Returns what names the cell's records across runs; None if unknown.

        That is so for models without a fingerprint, for timings, and for whatever needs them.
        """
        needed = [self._cells[other] for other in cell.needs.values()]
        if (
            cell.model.fingerprint is None
            or isinstance(cell.scenario, Timed)
            or any(self.meaning(other) is None for other in needed)
        ):
            return None
        return meaning(self.identity(cell))

    def numerics(self, cell: PlannedCell) -> str:
        """Returns the digest of what moves the floats of a cell's records, or of what it needs."""
        if cell.id not in self._numerics:
            needs = {
                alias: self.numerics(self._cells[other]) for alias, other in cell.needs.items()
            }
            own = numerics_fields(cell, self._environment)
            read = self._observed.get(cell.model.name, {})
            self._numerics[cell.id] = data_digest({**own, "needs": needs, **read})
        return self._numerics[cell.id]

    def identity(self, cell: PlannedCell) -> dict[str, Any]:
        """Returns all that gives the cell's records their meaning."""
        if cell.id not in self._identities:
            needs = {
                alias: meaning(self.identity(self._cells[other]))
                for alias, other in cell.needs.items()
            }
            self._identities[cell.id] = identity_fields(cell, self._seed, needs)
        return self._identities[cell.id]

    def _ids_digest(self, cell: PlannedCell) -> str:
        if cell.scenario.role not in cell.data.counts:
            return ""
        key = (cell.data.name, cell.scenario.role, cell.limit)
        if key not in self._digests:
            self._digests[key] = self._ids(*key)
        return self._digests[key]


def needs_failed(cell: PlannedCell, files: Mapping[str, CellFile]) -> str:
    """Returns why a cell can't be collected, because a cell that it needs has failed; or ""."""
    for need in needs_of(cell.scenario, cell.model):
        other = cell.needs.get(need.alias)
        if other is None or need.optional:
            continue
        if files[other].status is Status.FAILED:
            return f"it needs {need.cell}, which failed: {files[other].reason}"
    return ""
