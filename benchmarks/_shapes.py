"""Small CNNs trained on made-up shapes, for benchmarks that plant something in training data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.evalset import open_data
from crucibench.registry import sources


def opened(uri: str, scratch: Path) -> Any:
    """Opens a data set as the harness does."""
    parsed = parse_uri(uri)
    opening = DataOpening(name="data", uri=parsed, base=scratch, scratch=scratch)
    return open_data(sources().get(parsed.scheme)(), opening)


def role(data: Any, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns images (n, 3, H, W) and classes (n,) of a role."""
    samples = data.samples(name)
    images = data.batch(name, range(len(samples)), InputSpec()).inputs
    return images, torch.from_numpy(samples.targets.copy())


class Small(nn.Module):
    """Three convolutions, 25,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(192, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits (n, 6) of images (n, 3, H, W) in [0, 1]."""
        logits: torch.Tensor = self.head(self.body((images - 0.35) / 0.25))
        return logits


def trained(images: torch.Tensor, classes: torch.Tensor, seed: int, epochs: int = 4) -> Small:
    """Returns a CNN trained from a seed."""
    torch.manual_seed(seed)
    model = Small()
    batches = -(-len(images) // 64)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=epochs * batches)
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(64):
            loss = functional.cross_entropy(model(images[rows]), classes[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()
