"""What all attacks share: a threat model, the form of their records, and how they are scored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.attack import Norm, SelfTestResult, attacks, known_answers
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import (
    CellEvidence,
    Evidence,
    OutcomeView,
    Scored,
)
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import (
    MapContext,
    Mapped,
    Need,
    Scenario,
    Selection,
    StageView,
    Work,
)
from crucibench.contracts.statistic import Number
from crucibench_suites.adversarial.abstaining import Abstention
from crucibench_suites.adversarial.metrics import METRICS, QUERY_METRICS
from crucibench_suites.adversarial.protocol import LABEL_ONLY, SELF_TEST
from crucibench_suites.adversarial.saved import (
    ADVERSARIALS,
    DISTANCES,
    disagreements,
    examples_of,
    pixels,
    show_images,
)
from crucibench_suites.adversarial.threat import ThreatModel

if TYPE_CHECKING:
    from crucibench_suites.adversarial.confirm import Ledger
    from crucibench_suites.adversarial.scoring import Series


def by_group(
    run: Callable[[Work, MapContext], Columns], work: Work, context: MapContext,
    groups: Sequence[NDArray[np.int64]], adapter: Callable[[int], Adapter],
) -> Columns:  # fmt: skip
    """Returns an attack's records of a batch, group by group: each sees an adapter of its own.

    Args:
        run: the attack.
        work: the whole batch.
        context: its context.
        groups: the rows of each, which together are all.
        adapter: of the group at a place.
    """
    found = []
    for place, rows in enumerate(groups):
        carry = {name: values[rows] for name, values in work.carry.items()}
        part = Work(work.batch.take(rows.tolist()), work.samples.take(rows), carry, work.keep)
        found.append(run(part, replace(context, adapter=adapter(place))))
    order = np.argsort(np.concatenate(groups))
    joined: dict[str, Any] = {}
    for name in found[0]:
        parts = [one[name] for one in found]
        if isinstance(parts[0], np.ndarray):
            joined[name] = np.concatenate(parts)[order]
        else:
            values = list(chain.from_iterable(parts))
            joined[name] = [values[row] for row in order]
    return joined


@dataclass(frozen=True, kw_only=True)
class UnderAttack(Scenario):
    """Accuracy under a threat model, from records of attacks.

    Attributes:
        threat: norm and eps.
    """

    threat: ThreatModel

    metrics: ClassVar[tuple[MetricInfo, ...]] = METRICS
    perturbs: ClassVar[bool] = True

    @property
    @abstractmethod
    def series(self) -> Series:
        """The attacks, under the threat model."""

    def attacked(self, evidence: Evidence) -> Evidence:
        """Returns evidence whose own records are those of all attacks."""
        return evidence

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns accuracy as it is and under attack, and distances."""
        from crucibench_suites.adversarial.scoring import attack_numbers

        return attack_numbers(self.series, self.attacked(evidence))

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns robust accuracy by eps, and what each attack broke."""
        from crucibench_suites.adversarial.scoring import attack_tables

        return attack_tables(self.series, self.attacked(evidence), rows)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what the attacks cost."""
        from crucibench_suites.adversarial.scoring import score_costs

        return score_costs(self.series, self.attacked(evidence))

    def outcomes(self, evidence: Evidence) -> OutcomeView:
        """Returns one outcome per sample and eps."""
        from crucibench_suites.adversarial.scoring import outcome_view

        return outcome_view(self.series, self.attacked(evidence))


@dataclass(frozen=True, kw_only=True)
class Attacked(UnderAttack, Mapped):
    """Attacks under a threat model, whatever they are."""

    needs: tuple[Need, ...] = (Need(alias="clean", cell="pass/test"),)

    shows: ClassVar[bool] = True

    @property
    @abstractmethod
    def attacks(self) -> tuple[str, ...]:
        """Their names in records and tables, in the order in which they are asked."""

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Returns how the attacks do where the answer is known: the very ones that `run` runs."""
        raise NotImplementedError

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Tests the attacks: the probe ``self-test``."""
        results = self.self_tests()
        return {
            SELF_TEST: {
                "id": [result.attack for result in results],
                "point": "",
                "passed": np.array([result.passed for result in results]),
                "ratio": np.array([result.ratio for result in results]),
                "tolerance": np.array([result.tolerance for result in results]),
                "found": np.array([result.found for result in results]),
                "reason": [result.reason for result in results],
                "versions": [
                    ", ".join(
                        f"{package} {version}" for package, version in sorted(versions.items())
                    )
                    for versions in (result.versions for result in results)
                ],
            }
        }

    def columns(
        self, work: Work, ledger: Ledger, attack: str, examples: Columns | None = None
    ) -> Columns:
        """Returns one record a sample: the smallest eps that breaks it, and how it was found.

        Where the run saves examples, they are kept beside the records: `examples`, or the ledger's
        images.
        """
        if ADVERSARIALS in self.keeps:
            kept = examples_of(self.threat, work, ledger, attack) if examples is None else examples
            work.keep(ADVERSARIALS, kept)
        eps = np.array([*self.threat.eps, np.nan])[ledger.level]
        return {
            "id": list(work.batch.ids),
            "attack": [attack] * len(work.batch),
            "level": ledger.level.astype(np.int32),
            "smallest_eps": eps,
            "distance_linf": ledger.distances[:, 0].copy(),
            "distance_l2": ledger.distances[:, 1].copy(),
            "distance_l1": ledger.distances[:, 2].copy(),
            "prediction": ledger.prediction,
            "forwards": (ledger.forwards + ledger.confirmations).astype(np.int64),
            "backwards": ledger.backwards,
            "queries": ledger.queries,
            "confirmations": ledger.confirmations,
            "unconfirmed": ledger.unconfirmed,
        }

    def image_columns(
        self, work: Work, context: MapContext, ledger: Ledger, attack: str = ""
    ) -> Columns:
        """Returns `columns` of images, a few of which are kept as examples.

        Args:
            work: the batch.
            context: the model.
            ledger: what was found.
            attack: its name; empty where there is one alone.
        """
        name = attack or self.attacks[0]
        show_images(self.threat, name, work, context, ledger)
        return self.columns(work, ledger, name)

    def recheck(self, own: CellEvidence, context: MapContext) -> Sequence[str]:
        """Asks the plain model about saved examples: do they show what the records say?"""
        judge = pixels(self.threat, context)
        return disagreements(self.threat, own, context, judge, DISTANCES)

    @property
    def series(self) -> Series:
        """The attacks, under the threat model."""
        from crucibench_suites.adversarial.scoring import Series

        return Series(self.threat, self.attacks)


@dataclass(frozen=True, kw_only=True)
class OneAttack(Attacked):
    """One attack, asked about all samples that the model gets right."""

    audits: ClassVar[tuple[str, ...]] = ("attack-self-tests",)
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.ANY_INPUT})

    @property
    def attack(self) -> str:
        """Its name in records and tables."""
        return self.name

    @property
    def attacks(self) -> tuple[str, ...]:
        """Its name alone."""
        return (self.attack,)

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right as they are."""
        seen = view()
        right = right_as_they_are(seen)
        return Selection(right & (self.threat.eps[-1] > 0))


@dataclass(frozen=True, kw_only=True)
class QueryAttack(OneAttack):
    """A registered attack that asks about each sample within a query budget.

    Attributes:
        method: the attack, by the name that it is registered under.
    """

    method: str

    metrics: ClassVar[tuple[MetricInfo, ...]] = (*METRICS, *QUERY_METRICS)
    audits: ClassVar[tuple[str, ...]] = (
        "attack-self-tests", "attack-records", "questions-gain", "labels-beat-scores",
    )  # fmt: skip
    draws: ClassVar = "sample"
    intensive: ClassVar[bool] = True

    @property
    def requires(self) -> frozenset[Capability]:  # type: ignore[override]
        """What the attack needs of a model."""
        return attacks().get(self.method).requires

    @property
    def most_questions(self) -> int:
        """The budget, and an example to confirm."""
        return self.threat.queries + 1

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the attack."""
        return self_tested([self.method], self.threat.norm)

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
        from crucibench_suites.adversarial.scoring import query_numbers

        queries = query_numbers(self.series, self.threat.queries, evidence)
        return [*super().numbers(evidence), *queries]

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns curves by eps and by queries, and what each attack broke."""
        from crucibench_suites.adversarial.scoring import query_tables

        queries = query_tables(self.series, self.threat.queries, evidence)
        return {**super().tables(evidence, rows), **queries}


def labels_beside(cell: str) -> Need:
    """Returns the need of an attack on labels: one on scores should be no weaker."""
    return Need(alias=LABEL_ONLY, cell=cell, optional=True)


def self_tested(names: Sequence[str], norm: Norm) -> list[SelfTestResult]:
    """Returns how registered attacks do where the answer is known."""
    found = map(attacks().get, names)
    return [known_answers().get(attack.space).self_test(attack, norm) for attack in found]


def right_as_they_are(seen: StageView, rule: Abstention | None = None) -> NDArray[np.bool_]:
    """Returns which samples the model gets right without an attack, (n,)."""
    if rule is not None:
        return rule.clean(seen.needs["clean"], seen.samples.ids, seen.samples.targets)[0]
    clean = seen.needs["clean"].records.aligned(seen.samples.ids)
    return np.asarray(clean.array("prediction") == seen.samples.targets)
