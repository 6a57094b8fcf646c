"""The scenario over all corruptions: means, worst cases, and the mean corruption error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.shift.cells import ALEXNET, OWN, REFERENCE
from crucibench_suites.shift.corrupted import Corrupted
from crucibench_suites.shift.metrics import OF_SUMMARY


@dataclass(frozen=True, kw_only=True)
class Summary(Derived):
    """Joins the cells of the corruptions of a run, sample by sample."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_SUMMARY
    perturbs: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, cells: Sequence[Corrupted], reference: str | None) -> Summary:
        """Returns the scenario that joins `cells`.

        Args:
            suite: the suite's name.
            cells: of the corruptions; they are of the same samples.
            reference: a model of the run, `ALEXNET`, or None.
        """
        needs = [Need(alias="clean", cell="pass/test")]
        needs += [Need(alias=OWN + cell.name, cell=cell.address, optional=True) for cell in cells]
        if reference not in {None, ALEXNET}:
            needs.append(
                Need(alias=REFERENCE + "clean", cell="pass/test", model=reference, optional=True)
            )
            needs += [
                Need(alias=REFERENCE + cell.name, cell=cell.address, model=reference, optional=True)
                for cell in cells
            ]
        return cls(
            suite=suite,
            name="summary",
            parameters={
                "reference": reference,
                "corruptions": [cell.name for cell in cells],
                "severities": list(cells[0].severities),
                "parameter_set": cells[0].parameters["parameter_set"],
                "kernel_versions": {cell.name: cell.kernel.version for cell in cells},
            },
            limit=cells[0].limit,
            needs=tuple(needs),
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.joining import score_summary

        return score_summary(evidence, self)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits import audit_summary

        return audit_summary(evidence, self.parameters["corruptions"])

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns the numbers that can be computed again for any weighting of the samples."""
        from crucibench_suites.shift.joining import comparables_of_summary

        return comparables_of_summary(evidence, self)
