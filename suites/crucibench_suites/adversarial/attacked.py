"""What attacks beside the protocols share: a threat model, and how they are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Mapped, Need, Selection, StageView, Work
from crucibench_suites.adversarial.metrics import METRICS
from crucibench_suites.adversarial.threat import ThreatModel

if TYPE_CHECKING:
    from crucibench_suites.adversarial.outcomes import Series
    from crucibench_suites.adversarial.search import Ledger


@dataclass(frozen=True, kw_only=True)
class OneAttack(Mapped):
    """One attack under a threat model, asked about all samples that the model gets right."""

    threat: ThreatModel
    needs: tuple[Need, ...] = (Need(alias="clean", cell="pass/test"),)

    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})
    perturbs: ClassVar[bool] = True

    @property
    def attack(self) -> str:
        """Its name in records and tables."""
        return self.name

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right as they are."""
        seen = view()
        clean = seen.needs["clean"].records.aligned(seen.samples.ids)
        right = np.asarray(clean.array("prediction") == seen.samples.targets)
        return Selection(right & (self.threat.eps[-1] > 0))

    def columns(self, work: Work, ledger: Ledger) -> Columns:
        """Returns one record a sample, of the form that `AutoAttack` has."""
        eps = np.array([*self.threat.eps, np.nan])[ledger.level]
        return {
            "id": list(work.batch.ids),
            "attack": [self.attack] * len(work.batch),
            "level": ledger.level.astype(np.int32),
            "smallest_eps": eps,
            "distance_linf": ledger.distances[:, 0].copy(),
            "distance_l2": ledger.distances[:, 1].copy(),
            "distance_l1": ledger.distances[:, 2].copy(),
            "prediction": ledger.prediction,
            "forwards": ledger.forwards + ledger.confirmations,
            "backwards": ledger.backwards,
            "queries": ledger.queries,
            "confirmations": ledger.confirmations,
            "unconfirmed": ledger.unconfirmed,
        }

    @property
    def series(self) -> Series:
        """What scoring needs to know of it."""
        from crucibench_suites.adversarial.outcomes import Series

        return Series(self.threat, (self.attack,), self.stream)

    def score(self, evidence: Evidence) -> Scored:
        """Computes all metric rows and tables."""
        from crucibench_suites.adversarial.scoring import score_attacks

        return score_attacks(self.series, evidence)

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        return []

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per sample and eps."""
        from crucibench_suites.adversarial.scoring import outcome_view

        return outcome_view(self.series, evidence)

    def comparables(self, evidence: Evidence) -> Sequence[Comparable]:
        """Returns shares of robust samples, and the area under them, as statistics of samples."""
        from crucibench_suites.adversarial.scoring import comparables_of

        return comparables_of(self.series, evidence)
