"""Transfer: a surrogate of the same run is attacked by its gradients, and this model asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crucibench.contracts.attack import Ball, Norm, SelfTestResult, attacks
from crucibench.contracts.capability import Capability
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Need, Selection, StageView, Work
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.attacked import OneAttack, self_tested
from crucibench_suites.adversarial.threat import ThreatModel

ATTACK, STEPS = "momentum", 20

_SOURCE = "surrogate"


@dataclass(frozen=True, kw_only=True)
class TransferSource(Mapped):
    """Examples of a surrogate, one a sample and radius: records hold what they add to the sample.

    They are made for all samples, whatever the surrogate says of them.
    """

    threat: ThreatModel

    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
    )
    perturbs: ClassVar[bool] = True
    intensive: ClassVar[bool] = True

    @classmethod
    def of(
        cls, suite: str, norm: Norm, eps: tuple[float, ...], limit: int | None
    ) -> TransferSource:
        """Returns the scenario of one norm."""
        threat = ThreatModel(norm=norm, eps=eps, steps=STEPS)
        parameters = {"norm": norm, "eps": list(threat.eps), "steps": STEPS}
        return cls(
            suite=suite, name=f"surrogate-source-{norm}", threat=threat, limit=limit,
            parameters={"attack": ATTACK, "threat": parameters},
        )  # fmt: skip

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample; ``change`` is float32, of radii x pixels numbers."""
        import torch

        from crucibench_suites.adversarial.attacks.model import (
            ImagePoints,
            ModuleOracle,
            attack_ball,
            device_of,
            frozen,
        )

        module, batch = context.adapter.module(), work.batch
        x = batch.inputs.to(device_of(module))
        y = torch.from_numpy(work.samples.targets.astype(np.int64)).to(x.device)
        oracle = ModuleOracle(module, context.draws)
        changes = []
        for radius in (eps for eps in self.threat.eps if eps > 0):
            eps = torch.full((len(x),), radius, device=x.device)
            points = ImagePoints(x=x, y=y, eps=eps, ids=batch.ids, norm=self.threat.norm)
            with frozen(module):
                found = attack_ball(attacks().get(ATTACK), Ball(oracle, points, self.threat))
            changes.append((found.adversarial - x).flatten(1).cpu())
        empty = torch.zeros(len(x), 0)
        return {"id": list(batch.ids), "change": torch.cat([empty, *changes], 1).numpy()}


@dataclass(frozen=True, kw_only=True)
class SurrogateTransfer(OneAttack):
    """What a surrogate's examples break: one question a sample and radius, from the smallest."""

    surrogate: str

    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})

    @classmethod
    def of(cls, source: TransferSource, surrogate: str, seed: int | None) -> SurrogateTransfer:
        """Returns the scenario that asks about the examples of `source`."""
        norm, eps = source.threat.norm, source.threat.eps
        threat = ThreatModel(
            norm=norm, eps=eps, seed=seed, access="transfer", steps=STEPS, queries=len(eps)
        )
        parameters = {"norm": norm, "eps": list(eps), "access": "transfer", "targeted": False}
        return cls(
            suite=source.suite,
            name=f"surrogate-{norm}",
            threat=threat,
            surrogate=surrogate,
            parameters={
                "attack": ATTACK, "surrogate": surrogate, "steps": STEPS,
                "threat": {**parameters, "queries": len(eps)},
            },
            points=threat.points,
            limit=source.limit,
            needs=(*cls.needs, Need(alias=_SOURCE, cell=source.address, model=surrogate)),
        )  # fmt: skip

    @property
    def most_questions(self) -> int:
        """One a radius."""
        return len(self.threat.eps)

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection:
        """Chooses the samples that are right, with what the surrogate's examples add to each."""
        seen = view()
        keep = super().select(stage, view).keep
        records = seen.needs[_SOURCE].records.aligned(seen.samples.ids)
        return Selection(keep, {"change": records.array("change")})

    def self_tests(self) -> Sequence[SelfTestResult]:
        """Tests the surrogate's attack."""
        return self_tested([ATTACK], self.threat.norm)

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns one record a sample.

        Raises:
            InputError: if the surrogate takes images of another form.
        """
        import torch

        from crucibench_suites.adversarial.confirm import AttackedBatch

        attacked = AttackedBatch(self.threat, work, context)
        ledger, inputs = attacked.ledger, work.batch.inputs.cpu()
        pixels, radii = inputs[0].numel(), int((attacked.grid > 0).sum())
        if work.carry["change"].shape[1] != pixels * radii:
            raise InputError(
                f"adversarial.surrogate: expected a model whose images have {pixels} numbers, as "
                f"this one's, those of {self.surrogate!r} have "
                f"{work.carry['change'].shape[1] // max(radii, 1)}"
            )
        changes = work.carry["change"].reshape(len(inputs), radii, *inputs.shape[1:])
        for at in range(radii):
            rows = attacked.unbroken
            if not len(rows):
                break
            change = torch.from_numpy(changes[rows, at].astype(np.float32))
            examples = (inputs[torch.from_numpy(rows)] + change).clamp(0, 1)
            ledger.queries[rows] += 1
            attacked.confirm(rows, attacked.snapped(rows, examples)[0])
        # An example that the model answers rightly is no failure of a confirmation.
        ledger.unconfirmed[:] = 0
        return self.image_columns(work, context, ledger)
