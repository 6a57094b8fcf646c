"""Cell files and suite descriptions, made from the plan."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.scenario import Mapped, Timed
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.resolve.resolve import Resolved
from crucibench.store.cells import CellFile


def planned_file(cell: PlannedCell, **facts: Any) -> CellFile:
    """Returns the file of a planned cell."""
    scenario = cell.scenario
    kind: Literal["mapped", "derived", "timed"] = "derived"
    if isinstance(scenario, Mapped):
        kind = "mapped"
    elif isinstance(scenario, Timed):
        kind = "timed"
    return CellFile(
        cell=cell.id, kind=kind, model=cell.model.name, data=cell.data.name,
        suite=scenario.suite, scenario=scenario.name, version=scenario.version,
        role=scenario.role, points=list(scenario.points), parameters=dict(scenario.parameters),
        draws=scenario.draws, needs=dict(cell.needs), limit=cell.limit,
        outputs=sorted(cell.outputs), n=cell.samples, **facts,
    )  # fmt: skip


def scoring_options(resolved: Resolved) -> ScoringOptions:
    """Returns how the spec wants its numbers made."""
    defaults = resolved.spec.defaults
    return ScoringOptions(
        seed=defaults.seed, level=defaults.level, replicates=defaults.replicates,
        min_group_size=defaults.min_group_size,
    )  # fmt: skip


def suites_as_data(resolved: Resolved, plan: Plan) -> dict[str, Any]:
    """Returns how leaderboard and report show each suite, and where one does not apply."""
    found: dict[str, Any] = {}
    for name, entry in resolved.suites.items():
        declared = {metric.id: metric for metric in entry.suite.metrics}
        for cell in plan:
            if cell.scenario.suite == name:
                declared |= {metric.id: metric for metric in cell.scenario.metrics}
        metrics = [
            {key: value for key, value in asdict(metric).items() if _finite(value)}
            for _, metric in sorted(declared.items())
        ]
        found[name] = {
            "axis": entry.suite.axis,
            "description": entry.suite.description,
            "headline": list(entry.suite.headline),
            "sections": [asdict(section) for section in entry.suite.sections],
            "metrics": metrics,
            "not_applicable": [
                {"model": model, "data": data, "reason": reason}
                for (model, data, suite), reason in plan.not_applicable.items()
                if suite == name
            ],
        }
    return found


def _finite(value: Any) -> bool:
    # JSON has no infinity: an unbounded metric has no bound.
    return value not in {float("inf"), float("-inf")} if isinstance(value, float) else True
