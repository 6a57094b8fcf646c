"""The scenario of drift: do the shifted data come from where the home test set came from?"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.shift.inputs import Inputs
from crucibench_suites.shift.places_metrics import OF_DRIFT
from crucibench_suites.shift.sides import SIDES


@dataclass(frozen=True, kw_only=True)
class Drift(Derived):
    """Two-sample tests of inputs, predictions, confidence and features, home against here."""

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = OF_DRIFT

    @classmethod
    def of(cls, suite: str, home: Inputs, here: Inputs, capabilities: Set[Capability]) -> Drift:
        """Returns the scenario that reads what `home` and `here` record, and passes over both."""
        features = frozenset({"features"} if Capability.FEATURES in capabilities else ())
        needs = [
            Need(alias=f"{side}/inputs", cell=scenario.address)
            for side, scenario in zip(SIDES, (home, here), strict=True)
        ]
        needs += [
            Need(alias=f"{side}/pass", cell=f"pass/{scenario.role}", outputs=features,
                 optional=True)
            for side, scenario in zip(SIDES, (home, here), strict=True)
        ]  # fmt: skip
        return cls(
            suite=suite, name=f"drift/{here.role.partition('/')[2]}", role=here.role,
            needs=tuple(needs),
        )  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.shift.drift_scoring import score_drift

        return score_drift(evidence, self.stream)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.shift.audits.power import audit_drift

        return audit_drift(evidence)
