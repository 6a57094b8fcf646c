"""What the demo claims: adversarial training holds where plain training falls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from torch import nn

from crucibench_adapters.demo import models
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.scoring import AttackOutcomes, read_outcomes
from crucibench_suites.adversarial.threat import ThreatModel

N = 30
THREAT = ThreatModel(norm="linf", eps=(0.05, 0.15), steps=15, targets=2, queries=40)


class Normalised(nn.Module):
    """A bundled network on pixels in [0, 1]."""

    def __init__(self, weights: str) -> None:
        super().__init__()
        self.model = models.cnn()
        self.model.load_state_dict(load_file(Path(models.__file__).parent / weights))
        asked = self.model.crucibench_input
        self.mean, self.std = asked["mean"][0], asked["std"][0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model((x - self.mean) / self.std)
        return logits


def _attacked(drive: Any, plain: Any, weights: str) -> AttackOutcomes:
    images, y = load_digits(return_X_y=True)
    x = torch.tensor(images[-N:] / 16, dtype=torch.float32).reshape(N, 1, 8, 8)
    scenario = Quick.of("adversarial", THREAT)
    return read_outcomes(
        scenario.series, drive(scenario, plain(Normalised(weights), 10), x, y[-N:])
    )


def test_adversarial_training_holds_where_plain_training_falls(drive: Any, plain: Any) -> None:
    fragile = _attacked(drive, plain, "cnn.safetensors")
    robust = _attacked(drive, plain, "cnn-adversarial.safetensors")
    for found in (fragile, robust):
        assert found.right.mean() > 0.8
        assert found.robust(0).mean() > 0.5
    assert fragile.robust(1).mean() < 0.35
    assert robust.robust(1).mean() > 0.5
