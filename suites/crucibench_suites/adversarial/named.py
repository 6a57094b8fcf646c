"""Attacks that a user names: foolbox's and those of plug-ins, behind the checks of this suite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from crucibench.contracts.attack import Attack, Ball, Norm, SelfTestResult, attacks, known_answers
from crucibench.contracts.capability import Capability
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Work
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.attacked import OneAttack
from crucibench_suites.adversarial.foolbox_names import PREFIX, FoolboxName
from crucibench_suites.adversarial.threat import ThreatModel

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
    audits: ClassVar[tuple[str, ...]] = ("forced-self-tests",)
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
        # Its budget is what foolbox's constructor says, so ours would be untrue.
        chosen = {key: model.as_parameters()[key] for key in ("norm", "eps", "access", "targeted")}
        parameters = {"budget": "as foolbox sets it, but for the options"}
        return cls._of(
            suite, f"foolbox-{named.name}-{norm}", str(named), model, force=force, limit=limit,
            threat_parameters={**chosen, "seed": seed}, **parameters,
        )  # fmt: skip

    @classmethod
    def of_plugin(
        cls, suite: str, name: str, threat: ThreatModel, *, force: bool, limit: int | None
    ) -> NamedAttack:
        """Returns the scenario of one registered attack by gradients."""
        return cls._of(
            suite, f"{name}-{threat.norm}", name, threat, force=force, limit=limit,
            threat_parameters=dict(threat.as_parameters()),
        )  # fmt: skip

    @classmethod
    def _of(
        cls, suite: str, name: str, named: str, threat: ThreatModel, *, force: bool,
        limit: int | None, threat_parameters: dict[str, Any], **parameters: Any,
    ) -> NamedAttack:  # fmt: skip
        return cls(
            suite=suite,
            name=name,
            named=named,
            force=force,
            threat=threat,
            parameters={"attack": named, "threat": threat_parameters, **parameters, "force": force},
            points=threat.points,
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

        An attack that is given a radius is asked at each of the grid, from the smallest, about the
        samples that it has not broken yet; one that minimises distance is asked once.
        """
        import torch

        from crucibench_suites.adversarial.attacks.model import (
            ImagePoints,
            ModuleOracle,
            attack_ball,
            device_of,
            frozen,
        )
        from crucibench_suites.adversarial.confirm import AttackedBatch
        from crucibench_suites.adversarial.of_foolbox import seeded

        threat, attack = self.threat, attack_of(self.named, self.threat.norm)
        module = context.adapter.module()
        device = device_of(module)
        draws = threat.draws(context.draws)
        attacked = AttackedBatch(threat, work, context)
        ledger = attacked.ledger
        above = [eps for eps in threat.eps if eps > 0]
        for radius in above[:1] if attack.nearest else above:
            rows = attacked.unbroken
            if not len(rows):
                break
            ids = tuple(work.batch.ids[row] for row in rows)
            points = ImagePoints(
                x=work.batch.inputs[torch.from_numpy(rows)].to(device),
                y=torch.from_numpy(attacked.targets[rows]).to(device),
                eps=torch.full((len(rows),), radius, device=device),
                ids=ids,
                norm=threat.norm,
            )
            given = Ball(ModuleOracle(module, draws), points, threat, radius=radius)
            step = f"radius {float('inf') if attack.nearest else radius!r}"
            with frozen(module), seeded(draws, ids, step):
                found = attack_ball(attack, given)
            ledger.spend(rows, found)
            examples = found.adversarial
            if not attack.nearest:
                examples, _ = attacked.snapped(rows, examples)
            attacked.confirm(rows, examples)
        return self.image_columns(work, context, ledger)
