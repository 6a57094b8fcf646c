"""The scenario of shifted data of the user's own: how good the model is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.shift.places_metrics import OF_PLACE
from crucibench_suites.shift.sides import HERE, HOME, TRAIN


@dataclass(frozen=True, kw_only=True)
class Elsewhere(Derived):
    """Reads a plain pass over a further data set against that over the home test set.

    With labels: how good the model is there, and what it has lost. Without: estimates.
    """

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_PLACE

    @classmethod
    def of(cls, suite: str, place: str, role: str, *, train: bool) -> Elsewhere:
        """Returns the scenario of the data set `place`; `train`: whether there is such a role."""
        needs = [Need(alias=HOME, cell="pass/test"), Need(alias=HERE, cell=f"pass/{role}")]
        if train:
            needs.append(Need(alias=TRAIN, cell="pass/train", optional=True))
        return cls(suite=suite, name=f"data/{place}", role=role, needs=tuple(needs))

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows."""
        from crucibench_suites.shift.place_scoring import score_place

        return score_place(evidence, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits.overlap import audit_place

        return audit_place(evidence)

    def comparables(self, evidence: Evidence) -> list[Comparable]:
        """Returns the numbers of the shifted samples alone."""
        from crucibench_suites.shift.place_scoring import comparables_of_place

        return comparables_of_place(evidence)

    def outcomes(self, evidence: Evidence) -> OutcomeView | None:
        """Returns an outcome a shifted sample; None where there are no labels."""
        from crucibench_suites.shift.place_scoring import view_of_place

        return view_of_place(evidence)
