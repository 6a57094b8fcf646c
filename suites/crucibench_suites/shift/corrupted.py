"""The scenario of one corruption: the same samples at several severities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Work
from crucibench_suites.shift.corruptions.catalogue import KERNELS, Kernel
from crucibench_suites.shift.metrics import OF_CORRUPTION
from crucibench_suites.shift.points import point_of, severity_of

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Corrupted(Mapped):
    """Corrupts every image at several severities, from one set of draws, and asks about each.

    The point without a name is that of the mean over severities.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_CORRUPTION
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.LABELS, Capability.ANY_INPUT})
    draws: ClassVar[Any] = "sample"
    perturbs: ClassVar[bool] = True
    shows: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        suite: str,
        kernel: Kernel,
        *,
        severities: Sequence[int],
        parameter_set: str,
        limit: int | None,
    ) -> Corrupted:
        """Returns the scenario of a kernel."""
        levels = {str(severity): list(kernel.level(parameter_set, severity))
                  for severity in severities}  # fmt: skip
        return cls(
            suite=suite,
            name=kernel.name,
            parameters={
                "source": "generated",
                "corruption": kernel.name,
                "family": kernel.family,
                "kernel_version": kernel.version,
                "parameter_set": parameter_set,
                "levels": levels,
            },
            points=("", *(point_of(severity) for severity in severities)),
            limit=limit,
            needs=(Need(alias="clean", cell="pass/test"),),
        )

    @property
    def kernel(self) -> Kernel:
        """The corruption."""
        return KERNELS[self.name]

    @property
    def severities(self) -> tuple[int, ...]:
        """The severities, in order."""
        return tuple(severity_of(point) for point in self.points if point)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample and severity."""
        from crucibench_suites.shift.asking import ask_corrupted

        return ask_corrupted(
            self.kernel, self.severities, self.parameters["parameter_set"], work, context
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.scoring import score_corrupted

        return score_corrupted(evidence, self.severities, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits import audit_corrupted

        return audit_corrupted(evidence, self.kernel, self.parameters["parameter_set"])

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns every number that can be computed again for any weighting of the samples."""
        from crucibench_suites.shift.comparing import comparables_of

        return comparables_of(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns an outcome per sample and severity, under the model's decision rule."""
        from crucibench_suites.shift.outcomes import view

        return view(evidence)
