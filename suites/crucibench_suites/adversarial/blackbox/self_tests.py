"""The self-test of attacks on labels: linear models, whose boundary is known."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import nn

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.blackbox.attacks import OnLabels
from crucibench_suites.adversarial.blackbox.books import Books, Floats, Ints
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.protocol import FEW_QUERIES
from crucibench_suites.adversarial.self_test import SelfTestResult, self_test
from crucibench_suites.adversarial.threat import Norm

_QUERIES = 500
"""Enough for a test; runs may spend more, or less."""


@cache
def tested(name: str, attack: OnLabels, norm: Norm) -> SelfTestResult:
    """Returns how an attack on labels does where the answer is known, tested once a process."""

    def call(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        ground = Pixels(x, norm)

        def lead(rows: Ints, images: torch.Tensor) -> Floats:
            with torch.no_grad():
                wrong = model(images).argmax(1) != y[torch.from_numpy(rows)]
            return np.where(wrong.numpy(), 1.0, -1.0)

        books = Books(ground, ground.answered(lead, 4096), np.zeros(0), _QUERIES)
        ids = [f"self-test-{row}" for row in range(len(x))]
        attack.run(books, ids, Draws(0, "self-test"), norm)
        return ground.images(books.best)

    return self_test(call, norm, name=name, kind="nearest", tolerance=FEW_QUERIES)
