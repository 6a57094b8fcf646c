"""The scenario ``across/SUITE/SCENARIO``: groups under what another suite does to the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.outcomes import needs_of, parameters_of
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need, Scenario
from crucibench.contracts.statistic import Number
from crucibench.metrics.catalogue import CATALOGUE
from crucibench.metrics.catalogue_across import ACROSS_METRICS
from crucibench.metrics.catalogue_groups import GAPS
from crucibench_suites.bias.config import CLEAN

if TYPE_CHECKING:
    import pandas as pd

METRICS: tuple[MetricInfo, ...] = (
    *(
        CATALOGUE[metric]
        for metric in (
            *("top-1", "selection-rate", "tpr", "fpr", "ppv", "mae", "mean-error"),
            *("mean-prediction", "worst-group-top-1", "worst-group-mae"),
            *(gap.id for gap in GAPS.values() if gap.kind == "difference"),
            *("mae-difference", "mean-error-difference", "mean-prediction-difference"),
        )
    ),
    *ACROSS_METRICS,
)


@dataclass(frozen=True, kw_only=True)
class Across(Derived):
    """Reads the outcome view of another suite's scenario by group, and asks the model nothing.

    Its points are ``clean``, the same samples as they are, and the points of the source.

    Attributes:
        source: the other scenario: of the samples of the test role, changed.
    """

    source: Scenario

    audits: ClassVar[tuple[str, ...]] = ("groups-across",)
    reads_groups: ClassVar[bool] = True
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS
    draws: ClassVar = "sample"  # as the source's: another seed makes other samples
    perturbs: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, source: Scenario, parameters: Mapping[str, Any]) -> Across:
        """Returns the scenario that reads `source`, parameters being as of `Groups.of`."""
        named = tuple(point for point in source.points if point) or ("",)
        return cls(
            suite=suite,
            name=f"across/{source.address}",
            source=source,
            parameters={**parameters, "source": parameters_of(source)},
            points=(CLEAN, *named),
            limit=source.limit,
            needs=(Need(alias=CLEAN, cell="pass/test"), *needs_of(source)),
        )

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns rates by group, gaps and worst groups at each point."""
        from crucibench_suites.bias.across_scoring import measure_across, numbers_across

        if not len(evidence.own.samples):
            return ()
        views, gaps = measure_across(evidence, self.source, self.parameters, self.stream)
        return numbers_across(evidence.task, views, gaps)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns each gap's change, and the accuracy difference by strength."""
        from crucibench_suites.bias.across_scoring import measure_across, tables_across

        views, gaps = measure_across(evidence, self.source, self.parameters, self.stream)
        return tables_across(evidence, views, gaps)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what became of gaps and groups since the samples as they are."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.bias.across_scoring import measure_across, other_numbers_across

        if not len(evidence.own.samples):
            return Scored([])
        views, _ = measure_across(evidence, self.source, self.parameters, self.stream)
        return Scored(rows_of(other_numbers_across(evidence, views), self, evidence))


def readable(source: Scenario) -> bool:
    """Whether a scenario changes the samples of the test role, so that the groups are the same."""
    return source.gives_outcomes and source.perturbs and source.role == "test"
