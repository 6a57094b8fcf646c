"""AutoAttack over a grid of eps, as stages: each attack asks about what those before left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from crucibench.contracts.attack import SelfTestResult, attacks
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import (
    MapContext,
    Selection,
    StageView,
    Work,
)
from crucibench.contracts.statistic import Number
from crucibench_suites.adversarial.abstaining import Abstention, abstention_numbers
from crucibench_suites.adversarial.attacked import (
    Attacked,
    by_group,
    right_as_they_are,
    self_tested,
)
from crucibench_suites.adversarial.metrics import ROBUST, SAFE
from crucibench_suites.adversarial.probing.choosing import PROBE
from crucibench_suites.adversarial.protocol import (
    AGAIN,
    QUICK,
    RAND,
    SECOND,
    STANDARD,
    Precision,
    Protocol,
    comes_late,
)
from crucibench_suites.adversarial.threat import ThreatModel

if TYPE_CHECKING:
    from crucibench_suites.adversarial.scoring import Series

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attacked):
    """A protocol under a threat model; subclasses name the protocol."""

    precision: Precision = "fp32"
    abstention: Abstention | None = None

    version: ClassVar[int] = 3
    protocol: ClassVar[Protocol]
    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    draws: ClassVar = "sample"
    intensive: ClassVar[bool] = True
    audits: ClassVar[tuple[str, ...]] = (
        "attack-self-tests", "attack-records", "answers-under-attack",
        "attack-gradients", "stronger-attacks", "gradient-differences", "more-steps",
        "second-opinion",
    )  # fmt: skip

    @classmethod
    def of(
        cls,
        suite: str,
        threat: ThreatModel,
        limit: int | None = None,
        precision: Precision = "fp32",
        abstention: Abstention | None = None,
    ) -> AutoAttack:
        """Returns the scenario of one threat model, and of what a model declares of abstention."""
        name = "confident-errors" if abstention and abstention.safe else cls.protocol.name
        declared = {"abstention": asdict(abstention)} if abstention else {}
        return cls(
            suite=suite,
            name=f"{name}-{threat.norm}",
            threat=threat,
            precision=precision,
            abstention=abstention,
            parameters={
                **declared,
                "protocol": cls.protocol.name,
                "attacks": list(cls.protocol.attacks),
                "precision": precision,
                "threat": dict(threat.as_parameters()),
            },
            points=threat.points,
            limit=limit,
        )

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right, and that some radius has not been broken for."""
        seen = view()
        right = right_as_they_are(seen, self.abstention)
        level = np.full(len(right), len(self.threat.eps), dtype=np.int64)
        late = np.zeros(len(right), dtype=np.bool_)
        where = {identity: row for row, identity in enumerate(seen.samples.ids)}
        late_ones = {
            attack for attack in self.protocol.attacks if comes_late(attacks().get(attack))
        }
        for before, records in seen.earlier.items():
            rows = np.array([where[identity] for identity in records.ids], dtype=np.int64)
            found = records.array("level").astype(np.int64)
            if before in late_ones:
                late[rows] |= found < level[rows]
            level[rows] = np.minimum(level[rows], found)
        if stage == PROBE:
            from crucibench_suites.adversarial.probing.choosing import choose

            return choose(self.threat, right, level, seen.earlier.values())
        if stage == SECOND:
            from crucibench_suites.adversarial.audits.cause import choose_second

            return choose_second(self, seen, right, level)
        smallest = sum(1 for eps in self.threat.eps if eps == 0)
        keep = right & (level > smallest)
        return Selection(keep & late if stage == AGAIN else keep, {"level": level})

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample: the smallest eps that breaks it, and how it was found."""
        attack = partial(self._attack, stage)
        if self.abstention is not None and len(work.batch):
            from crucibench_suites.adversarial.folding import FoldedAdapter

            targets, rule = work.samples.targets, self.abstention
            classes = np.unique(targets).tolist()
            rows = [np.flatnonzero(targets == own) for own in classes]
            return by_group(
                attack, work, context, rows,
                lambda at: FoldedAdapter(context.adapter, rule, classes[at]),
            )  # fmt: skip
        return attack(work, context)

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns accuracy as it is and under attack, and distances; of abstention its own."""
        found = super().numbers(evidence)
        if self.abstention is None or not found:
            return found
        if self.abstention.safe:
            return [replace(one, metric=SAFE.id) for one in found if one.metric == ROBUST.id]
        return [*found, *abstention_numbers(self.abstention, evidence)]

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns robust accuracy by eps, and what each attack broke."""
        safe = self.abstention is not None and self.abstention.safe
        return {} if safe else super().tables(evidence, rows)

    @property
    def series(self) -> Series:
        """The attacks, under the threat model."""
        return replace(super().series, abstention=self.abstention)

    def _attack(self, stage: str, work: Work, context: MapContext) -> Columns:
        from crucibench_suites.adversarial.confirm import Ledger
        from crucibench_suites.adversarial.search import RadiusSearch

        targets = work.samples.targets.astype(np.int64)
        search = RadiusSearch(
            context.adapter, work.batch, targets, self.threat, context.draws,
            precision=self.precision,
        )  # fmt: skip
        ledger = Ledger.of(work.batch, work.carry["level"])
        if stage == PROBE:
            from crucibench_suites.adversarial.probing.collecting import probe_batch

            return {
                **self.columns(work, ledger, stage),
                **probe_batch(self.threat, work, context),
            }
        if stage == SECOND:
            steps, queries, eot = work.carry["budget"][0]
            search.second_opinion(ledger, steps=steps, queries=queries, eot=eot)
            open_ = search.unsettled(ledger, work.carry["settle"], eot=eot)
            return {**self.columns(work, ledger, stage), "unsettled": open_}
        if stage == AGAIN:
            search.again(self.protocol.attacks, ledger)
        elif stage == self.protocol.attacks[0]:
            search.bisect(stage, ledger)
        elif attacks().get(stage).nearest:
            search.nearest(stage, ledger)
        else:
            search.descend(stage, ledger)
        return self.image_columns(work, context, ledger, stage)

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests all of the series."""
        return self_tested((*self.protocol.attacks, SECOND), self.threat.norm)

    @property
    def attacks(self) -> tuple[str, ...]:
        """The stages but the probes."""
        return tuple(stage for stage in self.stages if stage != PROBE)


@dataclass(frozen=True, kw_only=True)
class Standard(AutoAttack):
    """``autoattack-standard``."""

    protocol: ClassVar[Protocol] = STANDARD
    stages: ClassVar[tuple[str, ...]] = (*STANDARD.attacks, AGAIN, PROBE, SECOND)


@dataclass(frozen=True, kw_only=True)
class Rand(AutoAttack):
    """``autoattack-rand``."""

    protocol: ClassVar[Protocol] = RAND
    stages: ClassVar[tuple[str, ...]] = (*RAND.attacks, PROBE, SECOND)


@dataclass(frozen=True, kw_only=True)
class Quick(AutoAttack):
    """``autoattack-quick``."""

    protocol: ClassVar[Protocol] = QUICK
    stages: ClassVar[tuple[str, ...]] = (*QUICK.attacks, AGAIN, PROBE, SECOND)


SCENARIOS: dict[str, type[AutoAttack]] = {"standard": Standard, "rand": Rand, "quick": Quick}
