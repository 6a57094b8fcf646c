"""The scenario of another population: samples weighted along a column, none of them changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.shift.tables.population_metrics import OF_POPULATION
from crucibench_suites.shift.tables.population_points import (
    DIRECTIONS,
    LEVELS,
    Shape,
    population_point,
)


@dataclass(frozen=True, kw_only=True)
class Population(Derived):
    """Reads the clean pass as if the test set had more samples of a kind.

    ``tail``: only the lowest, or highest, by a column. ``tilt``: all, by importance weights that
    grow exponentially with the rank in the column.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_POPULATION

    @classmethod
    def of(cls, suite: str, shape: Shape, column: str, severities: Sequence[int]) -> Population:
        """Returns the scenario of a numeric column."""
        return cls(
            suite=suite,
            name=f"{shape}/{column}",
            parameters={
                "shape": shape,
                "column": column,
                "levels": {str(at): LEVELS[shape][at - 1] for at in severities},
            },
            points=tuple(
                population_point(severity, towards)
                for severity in severities
                for towards in DIRECTIONS
            ),
            needs=(
                Need(alias="clean", cell="pass/test"),
                Need(alias="inputs", cell=f"{suite}/inputs/test"),
            ),
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows."""
        from crucibench_suites.shift.tables.population_scoring import score_population

        return score_population(evidence, self.parameters, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.tables.population_scoring import audit_population

        return audit_population(evidence, self.parameters)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns every number that can be computed again for any weighting of the samples."""
        from crucibench_suites.shift.tables.population_scoring import comparables_of_population

        return comparables_of_population(evidence, self.parameters)
