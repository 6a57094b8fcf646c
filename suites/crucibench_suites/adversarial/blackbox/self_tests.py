"""The self-tests of attacks without gradients: linear models, whose boundary is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.model import Oracle, Points, frozen
from crucibench_suites.adversarial.attacks.momentum import momentum
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.blackbox.boundary import boundary
from crucibench_suites.adversarial.blackbox.hopskipjump import hopskipjump
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.native import native_results
from crucibench_suites.adversarial.self_test import AttackCall, SelfTestResult, self_tested
from crucibench_suites.adversarial.threat import Norm

QUERIES = 500
"""Enough for a test; runs may spend more, or less."""

_TOLERANCE = 5.0
"""Labels alone, few queries: they stay further behind the optimum than gradients."""


def tested(method: str, norm: Norm) -> SelfTestResult:
    """Returns how an attack does where the answer is known, tested once a process."""
    if method == "square":
        return native_results(["square"], norm)[0]
    return self_tested(method, call(method, norm), norm, kind="nearest", tolerance=_TOLERANCE)


def call(method: str, norm: Norm, queries: int = QUERIES) -> AttackCall:
    """Returns an attack on labels in the form that self-tests call."""

    def attack(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        ground = Pixels(x, norm)

        def lead(rows: Ints, images: torch.Tensor) -> Floats:
            with torch.no_grad():
                wrong = model(images).argmax(1) != y[torch.from_numpy(rows)]
            return np.where(wrong.numpy(), 1.0, -1.0)

        books = Books(ground, ground.answered(lead, 4096), np.zeros(0), queries)
        ids = [f"self-test-{row}" for row in range(len(x))]
        draws = Draws(0, "self-test")
        if method == "boundary":
            boundary(books, ids, draws)
        else:
            hopskipjump(books, ids, draws, norm)
        return ground.images(books.best)

    return attack


def momentum_tested(norm: Norm, steps: int) -> SelfTestResult:
    """Returns how a surrogate is attacked where the answer is known, tested once a process."""

    def attack(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        ids = tuple(f"self-test-{row}" for row in range(len(x)))
        points = Points(x=x, y=y, eps=torch.full((len(x),), radius), ids=ids, norm=norm)
        with frozen(model):
            return momentum(Oracle(model, Draws(0, "self-test")), points, steps=steps)

    return self_tested("momentum", attack, norm)
