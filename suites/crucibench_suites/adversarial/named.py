"""Attacks that a user names: foolbox's and those of plug-ins, behind the checks of this suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from crucibench.contracts.attack import Attack, Ball, Norm, SelfTestResult, attacks, known_answers
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.contracts.verdict import Severity
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.foolbox_names import PREFIX, FoolboxName
from crucibench_suites.adversarial.threat import ThreatModel, point_of

# What computes is imported where it is needed: listing suites must stay cheap.


def attack_of(name: str, norm: Norm) -> Attack:
    """Returns a registered attack, or one of foolbox.

    Raises:
        InputError: if there is none, or foolbox refuses its options.
    """
    if not name.startswith(PREFIX):
        return attacks().get(name)
    from crucibench_suites.adversarial.of_foolbox import FoolboxAttack

    return FoolboxAttack(FoolboxName.parse(name), norm)


@dataclass(frozen=True, kw_only=True)
class NamedAttack(OneAttack):
    """An attack by gradients under a threat model, on images."""

    named: str
    force: bool = False

    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    draws: ClassVar = "batch"
    intensive: ClassVar[bool] = True

    @classmethod
    def of_foolbox(
        cls,
        suite: str,
        named: FoolboxName,
        threat: tuple[Norm, tuple[float, ...], int | None],
        *,
        force: bool,
        limit: int | None,
    ) -> NamedAttack:
        """Returns the scenario of one attack of foolbox.

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
        parameters = {"budget": "as foolbox sets it, but for the options"}
        return cls._of(
            suite, f"foolbox-{named.name}-{norm}", str(named), model, force=force, limit=limit,
            told={**told, "seed": seed}, **parameters,
        )  # fmt: skip

    @classmethod
    def of_plugin(
        cls, suite: str, name: str, threat: ThreatModel, *, force: bool, limit: int | None
    ) -> NamedAttack:
        """Returns the scenario of one registered attack by gradients."""
        return cls._of(
            suite, f"{name}-{threat.norm}", name, threat, force=force, limit=limit,
            told=dict(threat.as_parameters()),
        )  # fmt: skip

    @classmethod
    def _of(
        cls, suite: str, name: str, named: str, threat: ThreatModel, *, force: bool,
        limit: int | None, told: dict[str, Any], **parameters: Any,
    ) -> NamedAttack:  # fmt: skip
        return cls(
            suite=suite,
            name=name,
            named=named,
            force=force,
            threat=threat,
            parameters={"attack": named, "threat": told, **parameters, "force": force},
            points=("", *(point_of(radius) for radius in threat.eps)),
            limit=limit,
        )

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the attack.

        Raises:
            InputError: with the evidence, if it fails and is not forced.
        """
        norm = self.threat.norm
        result = known_answers().get("image").self_test(attack_of(self.named, norm), norm)
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
        from crucibench_suites.adversarial.attacks.model import (
            GradientOracle,
            LossPoints,
            attack_ball,
            device_of,
            frozen,
        )
        from crucibench_suites.adversarial.confirm import Ledger, settle, snapped
        from crucibench_suites.adversarial.of_foolbox import seeded
        from crucibench_suites.adversarial.saved import show_images

        threat, targets = self.threat, work.samples.targets.astype(np.int64)
        attack = attack_of(self.named, threat.norm)
        module = context.adapter.module()
        device = device_of(module)
        draws = context.draws if threat.seed is None else Draws(threat.seed, self.stream)
        grid = np.asarray(threat.eps, dtype=np.float64)
        ledger = Ledger.of(work.batch, np.full(len(work.batch), len(grid), dtype=np.int64))
        above = [eps for eps in threat.eps if eps > 0]
        for radius in above[:1] if attack.nearest else above:
            rows = np.flatnonzero(ledger.level == len(grid))
            if not len(rows):
                break
            where = torch.from_numpy(rows)
            ids = tuple(work.batch.ids[row] for row in rows)
            points = LossPoints(
                x=work.batch.inputs[where].to(device),
                y=torch.from_numpy(targets[rows]).to(device),
                eps=torch.full((len(rows),), radius, device=device),
                ids=ids,
                norm=threat.norm,
            )
            given = Ball(GradientOracle(module, draws), points, threat, radius=radius)
            step = f"radius {float('inf') if attack.nearest else radius!r}"
            with frozen(module), seeded(draws, ids, step):
                found = attack_ball(attack, given)
            ledger.forwards[rows] += found.forwards
            ledger.backwards[rows] += found.backwards
            ledger.queries[rows] += found.queries
            examples = found.adversarial
            if not attack.nearest:
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
