"""The scenarios ``groups`` and ``fairlearn``: what a pass over the test role says of groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number
from crucibench.metrics.catalogue import CATALOGUE
from crucibench.metrics.catalogue_groups import GROUP_METRICS
from crucibench_suites.bias.fairlearn_metrics import FAIRLEARN_METRICS

if TYPE_CHECKING:
    import pandas as pd

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

    metrics: tuple[MetricInfo, ...] = METRICS  # type: ignore[misc]

    reads_groups: ClassVar[bool] = True
    version: ClassVar[int] = 1
    audits: ClassVar[tuple[str, ...]] = ("groups",)

    @classmethod
    def of(cls, suite: str, parameters: dict[str, Any]) -> Groups:
        """Returns the scenario for some columns, their depth, edges and references."""
        needs = (Need(alias="test", cell="pass/test"),)
        return cls(suite=suite, name="groups", parameters=parameters, needs=needs)

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns the worst group, differences between groups, and metrics by group."""
        from crucibench_suites.bias.scoring import compared_numbers, views_and_gaps

        if not len(evidence.needs["test"].samples):
            return ()
        views, gaps = views_and_gaps(evidence, self.parameters, self.stream)
        return compared_numbers(evidence.task, views, gaps)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns the tables of groups, gaps and classes."""
        from crucibench_suites.bias.scoring import group_tables

        return group_tables(evidence, self.parameters, self.stream)

    def score(self, evidence: Evidence) -> Scored:
        """Computes ratios, inequality, contrasts, and what is of groups that are not compared."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.bias.scoring import other_numbers

        if not len(evidence.needs["test"].samples):
            return Scored([])
        found = other_numbers(evidence, self.parameters, self.stream)
        return Scored(rows_of(found, self, evidence))


@dataclass(frozen=True, kw_only=True)
class FairlearnMetrics(Derived):
    """Asks fairlearn for its own numbers of each group column, and puts intervals to them."""

    reads_groups: ClassVar[bool] = True
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = FAIRLEARN_METRICS

    @classmethod
    def of(
        cls, suite: str, names: Sequence[str], parameters: Mapping[str, Any]
    ) -> FairlearnMetrics:
        """Returns the scenario for some names of `FAIRLEARN`."""
        return cls(
            suite=suite,
            name="fairlearn",
            parameters={**parameters, "depth": 1, "metrics": list(names)},
            needs=(Need(alias="test", cell="pass/test"),),
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows."""
        from crucibench.metrics.scoring import rows_of
        from crucibench_suites.bias.fairlearn_numbers import fairlearn_numbers

        found = fairlearn_numbers(evidence, self.parameters, self.stream)
        return Scored(rows_of(found, self, evidence))
