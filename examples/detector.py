"""A small detector of drawn shapes: peaks of a heat map are the middles of objects.

After Zhou et al., Objects as Points, 2019. `train_detector.py` makes data and weights:

    python examples/train_detector.py shapes
    crucibench run \
        --model "net=torch:examples/detector.py:detector?weights=shapes/detector.safetensors" \
        --data "coco:shapes/test.json?images=shapes/test&groups=background"
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

CLASSES = ("circle", "square", "triangle")
STRIDE = 4
MOST = 20
"""Boxes of an image."""


def _block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Detector(nn.Module):
    """Answers images (N, 3, H, W) with a dict of boxes, labels and scores each."""

    crucibench_classes = CLASSES

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(3, 16, 2), _block(16, 32, 2), _block(32, 48, 1), _block(48, 48, 1),
            _block(48, 48, 1),
        )  # fmt: skip
        self.head = nn.Conv2d(48, len(CLASSES) + 4, 1)
        nn.init.constant_(self.head.bias[: len(CLASSES)], -4.0)

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns logits of middles (N, 3, h, w), and sizes and offsets in cells (N, 4, h, w)."""
        found = self.head(self.body(images - 0.5))
        return found[:, : len(CLASSES)], found[:, len(CLASSES) :]

    def forward(self, images: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """Returns the boxes at the highest peaks, in pixels."""
        logits, places = self.maps(images)
        heat = logits.sigmoid()
        peaks = heat * (functional.max_pool2d(heat, 3, 1, 1) == heat)
        width, answers = heat.shape[-1], []
        for own, place in zip(peaks.flatten(1), places.flatten(2), strict=True):
            scores, at = own.topk(MOST)
            labels, cell = at // place.shape[1], at % place.shape[1]
            size, offset = place[:2, cell].exp(), place[2:, cell]
            middle = torch.stack([cell % width, cell // width]) + offset
            boxes = torch.cat([middle - size / 2, middle + size / 2]).T * STRIDE
            answers.append({"boxes": boxes, "labels": labels, "scores": scores})
        return answers


def detector() -> Detector:
    """Returns the detector without weights."""
    return Detector()
