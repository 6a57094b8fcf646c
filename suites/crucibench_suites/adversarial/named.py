"""Attacks of foolbox, by name, behind the checks of this suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.verdict import Severity
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.foolbox_names import FoolboxName
from crucibench_suites.adversarial.threat import Norm, ThreatModel, point_of

if TYPE_CHECKING:
    from crucibench_suites.adversarial.self_test import SelfTestResult

# What computes is imported where it is needed: listing suites must stay cheap.


@dataclass(frozen=True, kw_only=True)
class Foolbox(OneAttack):
    """An attack of foolbox under a threat model."""

    named: FoolboxName
    force: bool = False

    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    draws: ClassVar = "batch"
    intensive: ClassVar[bool] = True

    @classmethod
    def of(
        cls,
        suite: str,
        named: FoolboxName,
        threat: tuple[Norm, tuple[float, ...], int | None],
        *,
        force: bool,
        limit: int | None,
    ) -> Foolbox:
        """Returns the scenario of one attack.

        Args:
            suite: the suite's name.
            named: which attack.
            threat: norm, radii and seed.
            force: whether it is run though it fails its self-test.
            limit: at most so many samples.
        """
        norm, eps, seed = threat
        model = ThreatModel(norm=norm, eps=eps, seed=seed, access=named.access)
        # Its budget is what foolbox's constructor says, so ours would tell something untrue.
        told = {key: model.as_parameters()[key] for key in ("norm", "eps", "access", "targeted")}
        return cls(
            suite=suite,
            name=f"foolbox-{named.name}-{norm}",
            named=named,
            force=force,
            threat=model,
            parameters={
                "attack": str(named),
                "threat": {**told, "seed": seed},
                "budget": "as foolbox sets it, but for the options",
                "force": force,
            },
            points=("", *(point_of(radius) for radius in model.eps)),
            limit=limit,
        )

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the attack.

        Raises:
            InputError: with the evidence, if it fails and is not forced.
        """
        from crucibench_suites.adversarial.of_foolbox import tested

        result = tested(self.named, self.threat.norm)
        if not result.passed and not self.force:
            raise InputError(
                f"{result.reason}: it is not run, as its numbers would say nothing (suites."
                f"{self.suite}.force: true runs it, marked suspect)"
            )
        return [result]

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample.

        An attack that is told a radius is asked at each of the grid, from the smallest, about the
        samples that it has not broken yet; one that minimises distance is asked once.
        """
        import torch

        from crucibench.util.draws import Draws
        from crucibench_suites.adversarial.attacks.model import device_of, frozen
        from crucibench_suites.adversarial.of_foolbox import (
            Counting,
            FoolboxAttack,
            seeded,
        )
        from crucibench_suites.adversarial.search import Ledger
        from crucibench_suites.adversarial.settle import settle, snapped
        from crucibench_suites.adversarial.shown import show_images

        threat, targets = self.threat, work.samples.targets.astype(np.int64)
        attack = FoolboxAttack(self.named, threat.norm)
        module = context.adapter.module()
        device = device_of(module)
        draws = context.draws if threat.seed is None else Draws(threat.seed, self.stream)
        grid = np.asarray(threat.eps, dtype=np.float64)
        ledger = Ledger.of(work.batch, np.full(len(work.batch), len(grid), dtype=np.int64))
        counting = Counting(module)
        radii = [eps for eps in threat.eps if eps > 0] if self.named.fixed else [float("inf")]
        for radius in radii:
            rows = np.flatnonzero(ledger.level == len(grid))
            if not len(rows):
                break
            where = torch.from_numpy(rows)
            ids = tuple(work.batch.ids[row] for row in rows)
            with frozen(module), seeded(draws, ids, f"radius {radius!r}"):
                examples = attack(
                    counting, work.batch.inputs[where].to(device),
                    torch.from_numpy(targets[rows]).to(device), radius,
                )  # fmt: skip
            forwards, backwards = counting.take(len(rows))
            ledger.forwards[rows] += forwards
            ledger.backwards[rows] += backwards
            if self.named.access != "white-box":
                ledger.queries[rows] += forwards
            if self.named.fixed:
                examples, _ = snapped(work.batch.inputs[where], examples, grid, threat.norm)
            settle(
                context.adapter, work.batch, targets, rows=rows, examples=examples, grid=grid,
                norm=threat.norm, ledger=ledger,
            )  # fmt: skip
        show_images(threat, self.attack, work, context, ledger)
        return self.columns(work, ledger, self.attack)

    def audit(self, evidence: Evidence) -> Findings:
        """Marks the numbers of an attack that failed its self-test and was forced.

        One that finds nothing where there is something says nothing of a model.
        """
        return [
            replace(one, severity=Severity.SUSPECT) if one.evidence["found"] else one
            for one in super().audit(evidence)
        ]
