"""The models of ``crucibench demo``: an example of a file that ``torch:FILE.py:FACTORY`` names.

Their weights lie beside this file; ``examples/train_demo_models.py`` trained them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

COLUMNS = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


class Cnn(nn.Module):
    """Three convolutions over an 8 x 8 digit, 15,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        # What the harness does to pixels before it asks: here, and so in the fingerprint.
        self.crucibench_input = {"range": [0, 1], "mean": [0.3], "std": [0.375], "channels": 1}
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
        )
        self.head = nn.Linear(32 * 4, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 10), of images of shape (N, 1, 8, 8)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class Mlp(nn.Module):
    """One hidden layer over the pixels of a digit."""

    def __init__(self) -> None:
        super().__init__()
        # As the convolutional network has it: models of one canonical input are compared on shift.
        self.crucibench_input = {"channels": 1}
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU())
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 10), of images of shape (N, 1, 8, 8)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class ShapesCnn(nn.Module):
    """Three convolutions over a 32 x 32 image of a shape, 20,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.crucibench_input = {"range": [0, 1], "mean": [0.35], "std": [0.25], "channels": 3}
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 48, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Linear(48 * 4, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 6), of images of shape (N, 3, 32, 32)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class TabularMlp(nn.Module):
    """One hidden layer over the standardised columns of the diabetes data."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(COLUMNS)))
        self.register_buffer("std", torch.ones(len(COLUMNS)))
        self.body = nn.Sequential(nn.Linear(len(COLUMNS), 16), nn.Tanh())
        self.head = nn.Linear(16, 1)

    def encode(self, frame: Any) -> torch.Tensor:
        """Returns a table as standardised numbers, shape (N, 10); a missing one is the mean."""
        numbers = frame[list(COLUMNS)].to_numpy(dtype=np.float32, copy=True, na_value=np.nan)
        encoded = (torch.from_numpy(numbers).to(self.mean) - self.mean) / self.std
        return encoded.nan_to_num(nan=0.0)

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        """Returns the logit of the second class, shape (N, 1)."""
        logit: torch.Tensor = self.head(self.body(encoded))
        return logit


def cnn() -> nn.Module:
    """Makes the convolutional network."""
    return Cnn()


def mlp() -> nn.Module:
    """Makes the multilayer perceptron."""
    return Mlp()


def shapes_cnn() -> nn.Module:
    """Makes the convolutional network for shapes."""
    return ShapesCnn()


def tabular_mlp() -> nn.Module:
    """Makes the multilayer perceptron for tables."""
    return TabularMlp()
