"""Attacks without gradients, as scenarios: on scores or on labels, each with a query budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.attack import Norm, SelfTestResult, attacks
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import MapContext, Need, Work
from crucibench.contracts.statistic import Number
from crucibench_suites.adversarial.attacked import OneAttack, self_tested
from crucibench_suites.adversarial.metrics import METRICS, QUERY_METRICS
from crucibench_suites.adversarial.threat import ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench_suites.adversarial.confirm import Ledger

LABEL_ONLY = "label-only"
CROSS_CHECK = "hopskipjump"
"""On labels: what an attack on scores should be no weaker than."""

BlackBoxAttack = Literal["square", "hopskipjump", "boundary"]

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Budgeted(OneAttack):
    """An attack with a query budget under a threat model."""

    metrics: ClassVar[tuple[MetricInfo, ...]] = (*METRICS, *QUERY_METRICS)
    draws: ClassVar = "sample"
    intensive: ClassVar[bool] = True

    def query_columns(
        self, ledger: Ledger, queries_to: NDArray[np.float64], first: NDArray[np.float64]
    ) -> Columns:
        """Returns what such an attack records beside what all do.

        Args:
            ledger: what has been confirmed.
            queries_to: shape (n, radii of the grid above 0).
            first: the distance of the first example of each sample, (n,).
        """
        zeros = len(self.threat.eps) - queries_to.shape[1]
        wide = np.concatenate([np.full((len(first), zeros), np.nan), queries_to], axis=1)
        broken = ledger.level[:, None] <= np.arange(len(self.threat.eps))
        return {"queries_to": np.where(broken, wide, np.nan), "first_distance": first}

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns accuracy under attack and distances; queries and success by eps."""
        from crucibench_suites.adversarial.blackbox.curve import query_numbers

        queries = query_numbers(self.series, self.threat.queries, evidence)
        return [*super().numbers(evidence), *queries]

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns curves by eps and by queries, and what each attack broke."""
        from crucibench_suites.adversarial.blackbox.curve import query_tables

        queries = query_tables(self.series, self.threat.queries, evidence)
        return {**super().tables(evidence, rows), **queries}

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted."""
        from crucibench_suites.adversarial.blackbox.audits import audit_budgeted

        return audit_budgeted(self.series, self.threat.access, evidence)


@dataclass(frozen=True, kw_only=True)
class BlackBox(Budgeted):
    """An attack on images without gradients."""

    method: str

    @classmethod
    def of(
        cls, suite: str, method: str, threat: ThreatModel, limit: int | None,
        needs: tuple[Need, ...] = (),
    ) -> BlackBox:  # fmt: skip
        """Returns the scenario of one attack; `needs` are beside the clean pass."""
        # What budgets of gradient attacks would say of it is untrue.
        told = ("norm", "eps", "access", "targeted", "queries", "seed")
        parameters = threat.as_parameters()
        return cls(
            suite=suite,
            name=f"{method}-{threat.norm}",
            method=method,
            threat=threat,
            parameters={"attack": method, "threat": {key: parameters[key] for key in told}},
            points=("", *(point_of(radius) for radius in threat.eps)),
            limit=limit,
            needs=(*cls.needs, *needs),
        )


@dataclass(frozen=True, kw_only=True)
class ScoreBased(BlackBox):
    """Square on a model's scores, at each radius that nothing larger has withstood."""

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})

    @property
    def most_questions(self) -> int:
        """One search a radius, each with an example to confirm."""
        return len(self.threat.eps) * (self.threat.queries + 2)

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the attack, on logits."""
        return self_tested([self.method], self.threat.norm)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        from crucibench_suites.adversarial.blackbox.images import attack_by_scores
        from crucibench_suites.adversarial.saved import show_images

        attack = attacks().get(self.method)
        ledger, queries_to = attack_by_scores(attack, self.threat, work, context)
        show_images(self.threat, self.attack, work, context, ledger)
        extra = self.query_columns(ledger, queries_to, np.full(len(work.batch), np.nan))
        return {**self.columns(work, ledger, self.attack), **extra}


@dataclass(frozen=True, kw_only=True)
class LabelBased(BlackBox):
    """HopSkipJump or Boundary, which look for the nearest example and answer for every radius."""

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})

    @property
    def most_questions(self) -> int:
        """The budget, and an example to confirm."""
        return self.threat.queries + 1

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the attack."""
        return self_tested([self.method], self.threat.norm)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample."""
        from crucibench_suites.adversarial.blackbox.images import attack_by_labels
        from crucibench_suites.adversarial.saved import show_images

        attack = attacks().get(self.method)
        ledger, questions = attack_by_labels(attack, self.threat, work, context)
        show_images(self.threat, self.attack, work, context, ledger)
        extra = self.query_columns(ledger, questions.queries_to, questions.first)
        return {**self.columns(work, ledger, self.attack), **extra}


def scenarios(
    suite: str,
    methods: Iterable[str],
    threat: tuple[Norm, tuple[float, ...], int | None],
    *,
    queries: int,
    limit: int | None,
) -> list[BlackBox]:
    """Returns the attacks that meet the norm, those on labels first.

    Args:
        suite: the suite's name.
        methods: which.
        threat: norm, radii and seed.
        queries: the budget of each sample.
        limit: at most so many samples.
    """
    norm, eps, seed = threat
    methods = list(methods)
    chosen = [one for one in map(attacks().get, methods) if norm in one.norms]
    model = ThreatModel(norm=norm, eps=eps, seed=seed, access="decision", queries=queries)
    found: list[BlackBox] = [
        LabelBased.of(suite, one.name, model, limit) for one in chosen if one.access == "decision"
    ]
    model = model.model_copy(update={"access": "score"})
    others = f"{suite}/{CROSS_CHECK}-{norm}"
    needs = (Need(alias=LABEL_ONLY, cell=others, optional=True),) if CROSS_CHECK in methods else ()
    found += [
        ScoreBased.of(suite, one.name, model, limit, needs)
        for one in chosen
        if one.access == "score"
    ]
    return found
