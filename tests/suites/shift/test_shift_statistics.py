"""Random kernels against independent draws of the published definitions: mean, spread, PSNR."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from crucibench.contracts.corruption import CorruptionContext
from crucibench.util.draws import Draws
from crucibench_suites.shift.corruptions.images import IMAGES

COUNT, SIDE = 24, 48


def _published() -> Any:
    spec = importlib.util.spec_from_file_location(
        "published_definitions", Path(__file__).with_name("published.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


published = _published()


def _independent(
    name: str, x: np.ndarray, level: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """Makes one image with NumPy's own generator."""
    plane, pixels = x.shape[:2], x.shape
    if name in {"gaussian_noise", "speckle_noise"}:
        found = getattr(published, name)(x, level[0], rng.normal(size=pixels))
    elif name in {"shot_noise", "impulse_noise"}:
        found = getattr(published, name)(x, level[0], rng)
    elif name == "glass_blur":
        reach = int(level[1])
        found = published.glass_blur(
            x, level[0], reach, int(level[2]), lambda *_: rng.integers(-reach, reach, 2)
        )
    elif name == "motion_blur":
        found = published.motion_blur(x, level[0], level[1], rng.uniform(-45, 45))
    elif name == "snow":
        found = published.snow(x, level, rng.normal(size=plane), rng.uniform(-135, -45))
    elif name == "fog":
        heights = published.plasma(64, level[1], lambda count: rng.uniform(-1, 1, count))
        found = published.fog(x, level[0], heights)
    elif name == "elastic_transform":
        lengths = tuple(share * SIDE for share in level)
        moves, fields = rng.uniform(-1, 1, (3, 2)), rng.uniform(-1, 1, (2, *plane))
        found = published.elastic_transform(x, lengths, moves, fields)
    else:
        found = published.spatter(x, level, rng.normal(size=plane))
    return np.asarray(np.floor(found + 2.0**-10), dtype=np.float64)


def _psnr(made: np.ndarray, clean: np.ndarray) -> np.ndarray:
    error = ((made - clean) ** 2).reshape(len(made), -1).mean(axis=1)
    return np.asarray(10 * np.log10(255.0**2 / error))


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, kernel in IMAGES.items()
        if kernel.random and kernel.family not in {"geometric", "domain"} and name != "frost"
    ],
)
def test_the_distribution_is_the_published_one(
    name: str, photos: Callable[..., np.ndarray]
) -> None:
    kernel = IMAGES[name]
    pixels = photos(COUNT, SIDE)
    level = kernel.level(3, "imagenet")
    rng = np.random.default_rng(0)
    expected = np.stack([_independent(name, x, level, rng) for x in pixels])
    ids = tuple(f"sample {place}" for place in range(COUNT))
    context = CorruptionContext(ids, Draws(0, f"shift/{name}"))
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255
    (made,) = kernel.apply(images, (3,), context, "imagenet")
    found = made.permute(0, 2, 3, 1).numpy().astype(np.float64) * 255
    clean = pixels.astype(np.float64)
    for what in (
        lambda of: of.reshape(COUNT, -1).mean(axis=1),
        lambda of: of.reshape(COUNT, -1).std(axis=1),
        lambda of: _psnr(of, clean),
    ):
        # Paired by image: what is left differs by draws alone.
        gap = what(found) - what(expected)
        error = gap.std(ddof=1) / np.sqrt(COUNT)
        assert abs(gap.mean()) <= 4 * error + 0.05


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_is_poisson(severity: int) -> None:
    (rate,) = IMAGES["shot_noise"].level(severity, "cifar")
    for pixel in (0, 40, 255):
        images = torch.full((1, 1, 200, 200), pixel / 255)
        context = CorruptionContext((f"p{pixel}",), Draws(5, "shift/shot_noise"))
        (made,) = IMAGES["shot_noise"].apply(images, (severity,), context, "cifar")
        values = made.numpy().astype(np.float64).ravel()
        mean = rate * pixel / 255
        counts = np.arange(0, int(mean + 12 * np.sqrt(mean + 1)) + 2)
        shown = np.floor(np.clip(counts / rate, 0, 1) * 255 + 2.0**-10) / 255
        probability = stats.poisson.pmf(counts, mean)
        exact_mean = float((shown * probability).sum())
        exact_std = float(np.sqrt(((shown - exact_mean) ** 2 * probability).sum()))
        assert abs(values.mean() - exact_mean) <= 4 * exact_std / 200 + 1e-6
        assert abs(values.std() - exact_std) <= 0.03 * exact_std + 1e-6


def test_impulse_noise_hits_its_share_both_ways() -> None:
    images = torch.full((1, 1, 300, 300), 0.5)
    context = CorruptionContext(("a",), Draws(0, "shift/impulse_noise"))
    for severity, made in zip(
        (1, 5), IMAGES["impulse_noise"].apply(images, (1, 5), context, "imagenet"), strict=True
    ):
        (amount,) = IMAGES["impulse_noise"].level(severity, "imagenet")
        n = made.numel()
        for value in (0.0, 1.0):
            hits = int((made == value).sum())
            assert abs(hits - n * amount / 2) < 5 * np.sqrt(n * amount / 2)
