"""A small detector of drawn shapes, and the images that ``crucibench demo`` asks it about.

Peaks of a heat map are the middles of objects (Zhou et al., Objects as Points, 2019). Its weights
lie beside this file; ``examples/train_detector.py`` trained them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional

CLASSES = ("circle", "square", "triangle")
STRIDE = 4
MOST = 20
"""Boxes of an image."""
SIDE = 64
BACKGROUNDS = {"dark": 50, "light": 190}


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
        assert self.head.bias is not None
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


def drawn(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[list[float]], str]:
    """Returns an image, its objects as left, top, width, height, class, and its background."""
    name = str(rng.choice(list(BACKGROUNDS)))
    ground = BACKGROUNDS[name] + rng.integers(-25, 26, 3)
    picture = Image.new("RGB", (4 * SIDE, 4 * SIDE), tuple(int(one) for one in ground))
    draw = ImageDraw.Draw(picture)
    objects: list[list[float]] = []
    taken = np.zeros((SIDE, SIDE), dtype=bool)
    for _ in range(int(rng.integers(0, 5))):
        size = int(rng.integers(9, 25))
        left, top = (int(one) for one in rng.integers(0, SIDE - size, 2))
        # Shapes may touch, and hide little of each other.
        if taken[top : top + size, left : left + size].mean() > 0.2:
            continue
        taken[top : top + size, left : left + size] = True
        label = int(rng.integers(len(CLASSES)))
        colour = tuple(int(one) for one in rng.integers(0, 256, 3))
        x, y, s = 4 * left, 4 * top, 4 * size
        if label == 0:
            draw.ellipse([x, y, x + s - 1, y + s - 1], fill=colour)
        elif label == 1:
            draw.rectangle([x, y, x + s - 1, y + s - 1], fill=colour)
        else:
            draw.polygon([(x, y + s - 1), (x + s - 1, y + s - 1), (x + s // 2, y)], fill=colour)
        objects.append([left, top, size, size, label])
    pixels = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX)).astype(np.int64)
    noisy = pixels + rng.normal(0, 6, pixels.shape).round().astype(np.int64)
    return noisy.clip(0, 255).astype(np.uint8), objects, name


def drawn_shapes(count: int = 200) -> Any:
    """Returns images as ``datasets`` holds objects, with the background that each has."""
    import datasets

    rng = np.random.default_rng(0)
    made = [drawn(rng) for _ in range(count)]
    features = datasets.Features(
        image=datasets.Image(), background=datasets.Value("string"),
        objects={
            "bbox": datasets.Sequence(datasets.Sequence(datasets.Value("float64"), length=4)),
            "category": datasets.Sequence(datasets.ClassLabel(names=list(CLASSES))),
        },
    )  # fmt: skip
    columns = {
        "image": [Image.fromarray(pixels) for pixels, _, _ in made],
        "background": [name for _, _, name in made],
        "objects": [
            {"bbox": [one[:4] for one in objects], "category": [int(one[4]) for one in objects]}
            for _, objects, _ in made
        ],
    }
    return datasets.Dataset.from_dict(columns, features=features)
