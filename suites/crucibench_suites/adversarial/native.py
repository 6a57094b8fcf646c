"""The self-tests of the attacks that are our own, with budgets of their own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import nn

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.model import Oracle, Points, frozen
from crucibench_suites.adversarial.protocol import ATTACKS, Native
from crucibench_suites.adversarial.self_test import SelfTestResult, self_test
from crucibench_suites.adversarial.threat import Norm, ThreatModel

_STEPS, _QUERIES = 20, 150


def native_results(attacks: Sequence[str], norm: Norm) -> list[SelfTestResult]:
    """Returns the results of the attacks of a series, each tested once a process."""
    return [_tested(attack, ATTACKS[attack], norm) for attack in attacks]


@cache
def _tested(name: str, attack: Native, norm: Norm) -> SelfTestResult:
    budget = ThreatModel(norm=norm, eps=(0.0,), steps=_STEPS, targets=1, queries=_QUERIES)

    def call(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        # What looks for the nearest leaves as soon as an example lies within the radius.
        eps = torch.full((len(x),), 0.0 if attack.nearest else radius)
        ids = tuple(f"self-test-{row}" for row in range(len(x)))
        points = Points(x=x, y=y, eps=eps, ids=ids, norm=norm)
        with frozen(model):
            return attack.run(
                Oracle(model, Draws(0, "self-test")), points, budget, None
            ).adversarial

    return self_test(
        call, norm, name=name, kind="nearest" if attack.nearest else "within",
        tolerance=attack.tolerance,
    )  # fmt: skip
