"""The scenario ``clean``: everything that a plain pass over the test role says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.accuracy.listed import METRICS

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Clean(Derived):
    """Scores the pass over the test role, and the train role's where there is one."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    @classmethod
    def of(cls, suite: str, *, train: bool) -> Clean:
        """Returns the scenario; with `train` it also asks for a pass over the train role."""
        needs = [Need(alias="test", cell="pass/test")]
        if train:
            needs.append(Need(alias="train", cell="pass/train", optional=True))
        return cls(suite=suite, name="clean", needs=tuple(needs))

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.accuracy.scoring import score_clean

        return score_clean(evidence, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.accuracy.audits import audit_clean

        return audit_clean(evidence, self.stream)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns every number that can be computed again for any weighting of the test samples."""
        from crucibench_suites.accuracy.recorder import comparables_of

        return comparables_of(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per test sample, under the model's decision rule."""
        from crucibench_suites.accuracy.outcomes import view

        return view(evidence.needs["test"], evidence.task)
