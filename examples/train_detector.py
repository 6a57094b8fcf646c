"""Draws images of shapes with their boxes, and trains the detector of `detector.py` on them.

    python examples/train_detector.py FOLDER [--steps 1200]

Two minutes on one core. FOLDER gets ``test.json`` (COCO annotations; each image says which
background it has), ``test/`` and ``detector.safetensors``. The images that it learns from are drawn
as it goes, by another seed than the test images.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detector import CLASSES, STRIDE, Detector
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from torch.nn import functional

SIDE, BATCH, TESTS = 64, 32, 400
BACKGROUNDS = {"dark": 50, "light": 190}


def drawn(rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[list[float]], str]:
    """Returns an image, its objects as left, top, width, height, class, and its background."""
    name = str(rng.choice(list(BACKGROUNDS)))
    ground = BACKGROUNDS[name] + rng.integers(-25, 26, 3)
    picture = Image.new("RGB", (4 * SIDE, 4 * SIDE), tuple(int(one) for one in ground))
    draw, objects = ImageDraw.Draw(picture), []
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
    return -(right.sum() + wrong.sum()) / count + 0.5 * apart / count


def main() -> None:
    """Draws, trains and writes."""
    parser = argparse.ArgumentParser(description="Train the detector of drawn shapes.")
    parser.add_argument("folder", type=Path)
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
    write(options.folder, model)


def write(folder: Path, model: Detector) -> None:
    """Writes the weights and the test images."""
    (folder / "test").mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "detector.safetensors")
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for at in range(TESTS):
        pixels, found, background = drawn(rng)
        Image.fromarray(pixels).save(folder / "test" / f"{at:03}.png")
        images.append({"id": at, "file_name": f"{at:03}.png", "width": SIDE, "height": SIDE,
                       "background": background})  # fmt: skip
        objects += [{"id": len(objects) + k, "image_id": at, "category_id": label, "bbox": box}
                    for k, (*box, label) in enumerate(found)]  # fmt: skip
    categories = [{"id": at, "name": name} for at, name in enumerate(CLASSES)]
    known = {"images": images, "annotations": objects, "categories": categories}
    (folder / "test.json").write_text(json.dumps(known), encoding="utf-8")


if __name__ == "__main__":
    main()
