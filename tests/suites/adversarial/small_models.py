"""Small networks on scikit-learn's digits, trained to the end within seconds."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

Architecture = Literal["linear", "mlp", "deep-mlp", "cnn", "wide-cnn"]

TEST = 400


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, np.ndarray]:
    """Returns training images and labels, and the test images and labels: 8 x 8 in [0, 1]."""
    data = load_digits()
    rows = np.random.default_rng(0).permutation(len(data.target))
    x = torch.tensor(data.images[rows] / 16, dtype=torch.float32)[:, None]
    y = data.target[rows].astype(np.int64)
    return x[TEST:], torch.from_numpy(y[TEST:]), x[:TEST], y[:TEST]


def build(architecture: Architecture) -> nn.Module:
    """Returns a network without training, from torch's global generator."""
    if architecture == "linear":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    if architecture == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    if architecture == "deep-mlp":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 96), nn.ReLU(),
            nn.Linear(96, 64), nn.GELU(), nn.Linear(64, 10),
        )  # fmt: skip
    if architecture == "cnn":
        return nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 10),
        )  # fmt: skip
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2), nn.Linear(128, 10),
    )  # fmt: skip


def train(
    architecture: Architecture, seed: int, *, adversarial: bool = False, steps: int = 150
) -> nn.Module:
    """Trains by Adam; adversarially, on examples of three sign steps within 0.15 (Madry 2018)."""
    x, y, _, _ = digits()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(architecture)
        optimiser = torch.optim.Adam(model.parameters(), lr=5e-3)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = 5e-3 * (1 - step / steps)
            rows = torch.randint(len(x), (128,))
            images, labels = x[rows], y[rows]
            if adversarial:
                images = _worst(model, images, labels)
            optimiser.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def _worst(model: nn.Module, x: torch.Tensor, y: torch.Tensor, eps: float = 0.15) -> torch.Tensor:
    found = (x + (torch.rand_like(x) * 2 - 1) * eps).clamp(0, 1)
    for _ in range(3):
        found = found.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(cross_entropy(model(found), y), found)
        found = (x + (found + 0.5 * eps * gradient.sign() - x).clamp(-eps, eps)).clamp(0, 1)
    return found.detach()


class Cast(nn.Module):
    """A model in bfloat16, as a variant of an adapter is: float32 in, float32 out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(torch.bfloat16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x.to(torch.bfloat16))
        return logits.float()
