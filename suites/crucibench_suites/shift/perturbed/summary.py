"""The scenario over all perturbations: means and worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.shift.cells import OWN
from crucibench_suites.shift.perturbed.metrics import OF_PERTURBED_SUMMARY
from crucibench_suites.shift.perturbed.scenario import Perturbed


@dataclass(frozen=True, kw_only=True)
class PerturbedSummary(Derived):
    """Joins the cells of the perturbations of a run, sample by sample."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_PERTURBED_SUMMARY
    perturbs: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, cells: Sequence[Perturbed]) -> PerturbedSummary:
        """Returns the scenario that joins `cells`, which are of the same samples."""
        return cls(
            suite=suite,
            name="summary",
            parameters={
                "corruptions": {cell.name: cell.parameters["family"] for cell in cells},
                "severities": list(cells[0].severities),
                "versions": {
                    cell.name: cell.parameters["perturbation_version"] for cell in cells
                },
            },
            limit=cells[0].limit,
            needs=(
                Need(alias="clean", cell="pass/test"),
                *(Need(alias=OWN + cell.name, cell=cell.address, optional=True) for cell in cells),
            ),
        )  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.perturbed.joining import score_joined

        return score_joined(evidence, self.parameters["corruptions"], self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits import audit_summary

        return audit_summary(evidence, list(self.parameters["corruptions"]))

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns the numbers that can be computed again for any weighting of the samples."""
        from crucibench_suites.shift.perturbed.joining import comparables_of_joined

        return comparables_of_joined(evidence, self.parameters["corruptions"])
