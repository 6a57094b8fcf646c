"""The scenario of subpopulations: each group, and the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.shift.places_metrics import OF_GROUPS


@dataclass(frozen=True, kw_only=True)
class Subpopulations(Derived):
    """Splits a plain pass by group columns, by these and the true class, and by crossings."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_GROUPS

    @classmethod
    def of(cls, suite: str, role: str, cross: Sequence[Sequence[str]]) -> Subpopulations:
        """Returns the scenario of a role; `cross` are the crossings asked for."""
        place = role.partition("/")[2]
        return cls(
            suite=suite,
            name="subpopulations" + (f"/{place}" if place else ""),
            parameters={"cross": [list(columns) for columns in cross]},
            role=role,
            needs=(Need(alias="pass", cell=f"pass/{role}"),),
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.group_scoring import score_groups

        return score_groups(evidence, self.parameters["cross"], self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits.chance import audit_groups

        return audit_groups(evidence, self.parameters["cross"], self.stream)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns the numbers that can be computed again for any weighting of the samples."""
        from crucibench_suites.shift.group_scoring import comparables_of_groups

        return comparables_of_groups(evidence, self.parameters["cross"])
