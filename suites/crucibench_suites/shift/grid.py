"""The scenario of the worst case of each sample over a grid of rotations and translations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Work
from crucibench_suites.shift.config import GRID
from crucibench_suites.shift.metrics import OF_GRID
from crucibench_suites.shift.points import Place

ROTATIONS = (-30.0, -15.0, 0.0, 15.0, 30.0)
TRANSLATIONS = (-0.1, 0.0, 0.1)
PLACES = tuple(
    Place(degrees, across, down)
    for degrees in ROTATIONS
    for across in TRANSLATIONS
    for down in TRANSLATIONS
)


@dataclass(frozen=True, kw_only=True)
class GridWorst(Mapped):
    """Turns and moves every image to each place of a grid; a sample counts by its worst place.

    Engstrom et al., "Exploring the landscape of spatial robustness" (ICML 2019), whose ranges, 30
    degrees and a tenth of the image, are cut more coarsely here.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_GRID
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.LABELS, Capability.ANY_INPUT})
    draws: ClassVar[Any] = "none"
    perturbs: ClassVar[bool] = True
    intensive: ClassVar[bool] = True

    @classmethod
    def of(cls, suite: str, limit: int | None) -> GridWorst:
        """Returns the scenario."""
        return cls(
            suite=suite,
            name=GRID,
            parameters={
                "rotations": list(ROTATIONS),
                "translations": list(TRANSLATIONS),
                "kernel_version": 1,
            },
            points=("", *(place.point for place in PLACES)),
            limit=limit,
            needs=(Need(alias="clean", cell="pass/test"),),
        )

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns a record a sample and place."""
        from crucibench_suites.shift.grid_worst import ask_grid

        return ask_grid(PLACES, work, context)

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows."""
        from crucibench_suites.shift.grid_worst import score_grid

        return score_grid(evidence, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits import audit_records

        return audit_records(evidence)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns the worst case and every place as shares of samples."""
        from crucibench_suites.shift.grid_worst import comparables_of_grid

        return comparables_of_grid(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns an outcome per sample and place, under the model's decision rule."""
        from crucibench_suites.shift.outcomes import view

        return view(evidence)
