"""The scenario of one perturbation: the same samples at several severities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Mapped
from crucibench_suites.shift.perturbed.metrics import OF_PERTURBATION
from crucibench_suites.shift.points import severity_of


@dataclass(frozen=True, kw_only=True)
class Perturbed(Mapped):
    """Perturbs every sample at several severities, from one set of draws, and asks about each.

    The point without a name is that of numbers over all severities.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_PERTURBATION
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})
    draws: ClassVar[Any] = "sample"
    perturbs: ClassVar[bool] = True
    shows: ClassVar[bool] = True

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities, in order."""
        return tuple(severity_of(point) for point in self.points if point)

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.perturbed.scoring import score_perturbed

        return score_perturbed(evidence, self.severities, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.perturbed.audits import audit_perturbed

        return audit_perturbed(evidence, self.parameters)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns every number that can be computed again for any weighting of the samples."""
        from crucibench_suites.shift.perturbed.scoring import comparables_of_perturbed

        return comparables_of_perturbed(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns an outcome per sample and severity, under the model's decision rule."""
        from crucibench_suites.shift.perturbed.values import view

        return view(evidence)
