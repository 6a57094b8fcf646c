"""The self-tests of the attacks that are our own, with budgets of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from crucibench.contracts.records import Columns
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.apgd import apgd, apgd_targeted
from crucibench_suites.adversarial.attacks.fab import fab_targeted
from crucibench_suites.adversarial.attacks.model import Found, Oracle, Points, frozen
from crucibench_suites.adversarial.attacks.square import square
from crucibench_suites.adversarial.protocol import Attack
from crucibench_suites.adversarial.self_test import (
    TOLERANCE,
    AttackCall,
    SelfTestResult,
    self_tested,
)
from crucibench_suites.adversarial.threat import Norm

_STEPS, _QUERIES = 20, 150

_TOLERANCE: dict[Attack, float] = {"square": 5.0}
"""Square sees no gradients, and few queries are enough for a test: it stays further behind."""


def native_results(attacks: Sequence[Attack], norm: Norm) -> list[SelfTestResult]:
    """Returns the results of the attacks of a series, each tested once a process."""
    return [
        self_tested(
            attack,
            _call(attack, norm),
            norm,
            kind="nearest" if attack == "fab-t" else "within",
            tolerance=_TOLERANCE.get(attack, TOLERANCE),
        )
        for attack in attacks
    ]


def self_test_records(attacks: Sequence[Attack], norm: Norm) -> Columns:
    """Returns the same as probe records: ``id`` is the attack."""
    return as_columns(native_results(attacks, norm))


def as_columns(results: Sequence[SelfTestResult]) -> Columns:
    """Returns results as probe records, a row an attack."""
    return {
        "id": [result.attack for result in results],
        "point": "",
        "passed": np.array([result.passed for result in results]),
        "ratio": np.array([result.ratio for result in results]),
        "tolerance": np.array([result.tolerance for result in results]),
        "found": np.array([result.found for result in results]),
        "reason": [result.reason for result in results],
    }


def _call(attack: Attack, norm: Norm) -> AttackCall:
    def call(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        # FAB-T leaves as soon as an example lies within the radius.
        eps = torch.full((len(x),), 0.0 if attack == "fab-t" else radius)
        ids = tuple(f"self-test-{row}" for row in range(len(x)))
        with frozen(model):
            oracle = Oracle(model, Draws(0, "self-test"))
            return _found(attack, oracle, Points(x=x, y=y, eps=eps, ids=ids, norm=norm)).adversarial

    return call


def _found(attack: Attack, oracle: Oracle, points: Points) -> Found:
    if attack == "apgd-t":
        return apgd_targeted(oracle, points, steps=_STEPS, targets=1)
    if attack == "fab-t":
        return fab_targeted(oracle, points, steps=_STEPS, targets=1)
    if attack == "square":
        return square(oracle, points, queries=_QUERIES)
    loss = losses.dlr if attack == "apgd-dlr" else losses.log_odds
    return apgd(oracle, points, loss, steps=_STEPS)
