"""Trains the detector that ``crucibench demo`` evaluates, and writes its weights beside it.

    python examples/train_detector.py [--out FOLDER] [--steps 1200]

Two minutes on one core. The images of shapes that it learns from are drawn as it goes, by another
seed than those of the demo.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional

import crucibench_adapters

DEMO = Path(crucibench_adapters.__file__).parent / "demo"
sys.path.insert(0, str(DEMO))
from detector import CLASSES, SIDE, STRIDE, Detector, drawn  # noqa: E402

BATCH = 32


def goals(objects: list[list[float]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the heat map, sizes and offsets, and where there is an object, of one image."""
    cells = SIDE // STRIDE
    heat, places = torch.zeros(len(CLASSES), cells, cells), torch.zeros(4, cells, cells)
    there, axis = torch.zeros(cells, cells), torch.arange(cells)
    for left, top, width, height, label in objects:
        x, y = (left + width / 2) / STRIDE, (top + height / 2) / STRIDE
        column, row = min(int(x), cells - 1), min(int(y), cells - 1)
        spread = max(width / STRIDE / 6, 0.5)
        near = torch.exp(-((axis - column) ** 2) / (2 * spread**2))
        far = torch.exp(-((axis - row) ** 2) / (2 * spread**2))
        heat[int(label)] = torch.maximum(heat[int(label)], far[:, None] * near[None])
        sizes = [math.log(width / STRIDE), math.log(height / STRIDE)]
        places[:, row, column] = torch.tensor([*sizes, x - column, y - row])
        there[row, column] = 1
    return heat, places, there


def lost(model: Detector, images: torch.Tensor, goal: list[Any]) -> torch.Tensor:
    """Returns the penalty-reduced focal loss of middles, and the absolute one of places."""
    heat, places, there = (torch.stack(part) for part in zip(*goal, strict=True))
    logits, found = model.maps(images)
    chance = logits.sigmoid()
    hit = heat == 1
    right = functional.logsigmoid(logits) * (1 - chance) ** 2 * hit
    wrong = functional.logsigmoid(-logits) * chance**2 * (1 - heat) ** 4 * ~hit
    count = there.sum().clamp_min(1)
    apart = ((found - places).abs().sum(1) * there).sum()
    loss: torch.Tensor = -(right.sum() + wrong.sum()) / count + 0.5 * apart / count
    return loss


def main() -> None:
    """Draws, trains and writes."""
    parser = argparse.ArgumentParser(description="Train the detector of drawn shapes.")
    parser.add_argument("--out", type=Path, default=DEMO, help="where to write the weights")
    parser.add_argument("--steps", type=int, default=1200)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums in one order, so that the weights are the same each time
    start, rng = time.perf_counter(), np.random.default_rng(1)
    model = Detector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, options.steps)
    for step in range(options.steps):
        made = [drawn(rng) for _ in range(BATCH)]
        pixels = torch.from_numpy(np.stack([image for image, _, _ in made]))
        loss = lost(
            model, pixels.permute(0, 3, 1, 2) / 255, [goals(objects) for _, objects, _ in made]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 199:
            print(f"step {step + 1}: loss {loss.item():.3f}, {time.perf_counter() - start:.0f} s")
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), options.out / "detector.safetensors")


if __name__ == "__main__":
    main()
