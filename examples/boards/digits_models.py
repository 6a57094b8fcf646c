"""The networks of the board of handwritten digits; `digits.py` trains them."""

from __future__ import annotations

import math

import torch
from torch import nn


class Mlp(nn.Module):
    """Two hidden layers over the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.crucibench_input = {"channels": 1}
        self.body = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.head = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 10), of images of shape (N, 1, 28, 28)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class Cnn(nn.Module):
    """Three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.crucibench_input = {"channels": 1}
        self.body = nn.Sequential(
            nn.Conv2d(1, 12, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(4),
            nn.Flatten(),
        )
        self.head = nn.Linear(24 * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 10), of images of shape (N, 1, 28, 28)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class Block(nn.Module):
    """Two convolutions beside a path that skips them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns features of the same shape."""
        return torch.relu(x + self.body(x))


class Residual(nn.Module):
    """Two residual blocks after a first convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.crucibench_input = {"channels": 1}
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 4, stride=4),
            nn.ReLU(),
            Block(16),
            Block(16),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
        )
        self.head = nn.Linear(16 * 16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns logits, shape (N, 10), of images of shape (N, 1, 28, 28)."""
        logits: torch.Tensor = self.head(self.body(images))
        return logits


class Smoothed(nn.Module):
    """A perceptron's mean probabilities under Gaussian noise on the pixels (Cohen et al. 2019).

    The noise is drawn once, and is the same for every image: a fixed function, so that attacks see
    its true gradients and an answer hangs on nothing but its image. The certificate of randomised
    smoothing needs fresh noise and thousands of draws; none is claimed.
    """

    SPREAD = 0.5
    DRAWS = 16

    def __init__(self) -> None:
        super().__init__()
        self.crucibench_input = {"channels": 1}
        self.base = Mlp()
        noise = torch.randn((self.DRAWS, 1, 28, 28), generator=torch.Generator().manual_seed(0))
        self.register_buffer("noise", self.SPREAD * noise)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Returns log probabilities, shape (N, 10); while training, of one new draw an image."""
        if self.training:
            return torch.log_softmax(
                self.base(images + self.SPREAD * torch.randn_like(images)), dim=1
            )
        noisy = (images[:, None] + self.noise).flatten(0, 1)
        each = torch.log_softmax(self.base(noisy), dim=1).unflatten(0, (len(images), self.DRAWS))
        return each.logsumexp(dim=1) - math.log(self.DRAWS)


def mlp() -> nn.Module:
    """Makes the perceptron."""
    return Mlp()


def cnn() -> nn.Module:
    """Makes the convolutional network."""
    return Cnn()


def residual() -> nn.Module:
    """Makes the residual network."""
    return Residual()


def smoothed() -> nn.Module:
    """Makes the smoothed perceptron."""
    return Smoothed()
