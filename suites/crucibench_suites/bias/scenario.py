"""The scenario ``groups``: what a plain pass over the test role says of each group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench.metrics.catalogue import CATALOGUE
from crucibench.metrics.catalogue_groups import GROUP_METRICS

METRICS: tuple[MetricInfo, ...] = (
    *(
        CATALOGUE[metric]
        for metric in (
            *("top-1", "fpr", "auroc", "log-loss", "mae"),
            "ece-l2-15-equal-mass-debiased-positive-class",
            "ece-l2-15-equal-mass-debiased-top-label",
        )
    ),
    *GROUP_METRICS,
)
"""All that the suite may report."""

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Groups(Derived):
    """Scores the pass over the test role by group."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS

    @classmethod
    def of(cls, suite: str, parameters: dict[str, Any]) -> Groups:
        """Returns the scenario for some columns, their depth, edges and references."""
        needs = (Need(alias="test", cell="pass/test"),)
        return cls(suite=suite, name="groups", parameters=parameters, needs=needs)

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.bias.scoring import score_groups

        return score_groups(evidence, self.parameters, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.bias.audits import audit_groups

        return audit_groups(evidence, self.parameters, self.stream)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns rates by group and gaps as statistics of the test samples."""
        from crucibench_suites.bias.comparing import comparables_of

        return comparables_of(evidence, self.parameters)
