"""A ResNet-18 for images of 32 x 32 pixels (He et al. 2016), trained a little on drawn shapes."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, relu

from crucibench.contracts.uri import parse_uri
from crucibench.data.sources.synthetic.shapes import ShapeSettings, factors
from crucibench.data.sources.synthetic.shapes import images as drawn_images

CLASSES = 6
"""Of `synthetic:shapes`."""
SLIM = 4


def shapes(role: str, samples: int) -> tuple[torch.Tensor, np.ndarray]:
    """Returns images (n, 3, 32, 32) in [0, 1] and their classes."""
    settings = ShapeSettings.of(parse_uri(f"synthetic:shapes?n={samples}"))
    drawn = factors(settings, role, samples)
    pixels = np.concatenate(list(drawn_images(settings, drawn)))
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255
    return x, drawn.classes.astype(np.int64)


class _Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, channels, 3, stride=stride, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.shortcut = nn.Sequential()
        if stride != 1 or before != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, channels, 1, stride=stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.norms[1](self.second(relu(self.norms[0](self.first(x)))))
        return relu(found + self.shortcut(x))


def resnet18(classes: int, width: int = 64) -> nn.Module:
    """Returns the network without training: four stages of two blocks, no pooling at the start.

    Args:
        classes: how many it answers.
        width: channels of the first stage; each further stage has twice as many.
    """
    blocks: list[nn.Module] = []
    before = width
    for channels in (width, 2 * width, 4 * width, 8 * width):
        stride = 1 if channels == before else 2
        blocks += [_Block(before, channels, stride), _Block(channels, channels, 1)]
        before = channels
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes),
    )  # fmt: skip


def trained(*, device: str, steps: int, width: int = 64) -> nn.Module:
    """Returns the network after so many steps of 64 images."""
    x, y = shapes("train", 64 * steps)
    torch.manual_seed(0)
    model = resnet18(CLASSES, width).to(device)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # few steps: the mean of all, not of the last
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=steps)
    for images, labels in zip(x.split(64), torch.from_numpy(y).split(64), strict=True):
        optimiser.zero_grad()
        cross_entropy(model(images.to(device)), labels.to(device)).backward()
        optimiser.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def of_shapes() -> nn.Module:
    """Returns the network for `synthetic:shapes`, as it is before training."""
    return resnet18(CLASSES)


def slim_of_shapes() -> nn.Module:
    """Returns a sixteenth of it."""
    return resnet18(CLASSES, SLIM)
