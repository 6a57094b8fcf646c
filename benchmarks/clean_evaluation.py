"""Collecting a clean pass against the same model in a bare loop, in turns, in one process.

The model has the size of ResNet-18 on 32-pixel images; probes are timed apart.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time

import numpy as np
import torch
from _report import publish, table
from torch import nn

import crucibench as cb

BATCH = 256


def block(inner: int, outer: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
        nn.Conv2d(outer, outer, 3, 1, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
    )  # fmt: skip


class Net(nn.Module):
    """The widths, depths and strides of ResNet-18 for small images, without the shortcuts."""

    def __init__(self) -> None:
        super().__init__()
        widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
        strides = [1, 1, 2, 1, 2, 1, 2, 1]
        layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        for inner, outer, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers.append(block(inner, outer, stride))
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(512, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(images))


def ours(images: np.ndarray, labels: np.ndarray, model: nn.Module) -> tuple[float, float]:
    """Returns (seconds to collect the shards, seconds of the probes) of the pass.

    Wall time from the first task to the last, so that what lies between tasks counts as well.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = cb.run(
            models={"net": model},
            data=(images, labels),
            suites=["accuracy"],
            out=folder,
            defaults={"batch_size": BATCH, "replicates": 100},
            cache=False,
        )
        lines = run.layout.events.read_text(encoding="utf-8").splitlines()
    tasks = [one for one in map(json.loads, lines) if one.get("kind") in {"probe", "shard"}]
    probes = sum(one["seconds"] for one in tasks if one["kind"] == "probe")
    return max(one["time"] for one in tasks) - min(one["begun"] for one in tasks) - probes, probes


def bare(images: np.ndarray, model: nn.Module) -> float:
    model.eval()
    begun = time.perf_counter()
    answers = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(images[start : start + BATCH]).float() / 255.0
            answers.append(model(batch).numpy())
    np.concatenate(answers)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (arguments.samples, 3, 32, 32), dtype=np.uint8)
    labels = rng.integers(0, 10, arguments.samples)
    torch.manual_seed(0)
    model = Net()
    ours(images[:512], labels[:512], model)
    rows, ratios = [], []
    for number in range(arguments.rounds):
        loop = bare(images, model)
        shards, probes = ours(images, labels, model)
        ratios.append(shards / loop)
        rows.append(
            (number + 1, f"{loop:.1f}", f"{shards:.1f}", f"{shards / loop:.3f}", f"{probes:.1f}")
        )
    publish(
        "clean-evaluation",
        "Clean evaluation against a bare loop",
        [
            f"{arguments.samples:,} random images of 3 x 32 x 32, a network of ResNet-18's widths "
            f"and depths, batches of {BATCH}, rounds in turn. Budget: 1.05 x.",
            "",
            *table(["round", "bare loop, s", "collecting, s", "ratio", "probes apart, s"], rows),
            "",
            f"Median ratio: {statistics.median(ratios):.3f}.",
        ],
        "torch",
    )


if __name__ == "__main__":
    main()
