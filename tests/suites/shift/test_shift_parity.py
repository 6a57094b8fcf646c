"""Each kernel against a plain reading of its published definition, given the same draws."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crucibench.util.draws import Draws
from crucibench.util.tensor_draws import TensorDraws
from crucibench_suites.shift.corruptions import KERNELS, corrupt, digital
from crucibench_suites.shift.corruptions._frost import TEXTURES, texture


def _module(name: str) -> Any:
    # Test folders are no packages: files beside this one are loaded by their path.
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(name, module)
    spec.loader.exec_module(module)
    return module


published = _module("published")

IDS = ("one", "two")
SIDES = {"imagenet": 72, "cifar": 32}
CLOSE = 2.0
"""Mean absolute distance allowed, of 255."""


def pixels_of(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy().astype(np.float64) * 255


def tensor_of(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255


class Drawn:
    """What one sample draws, as the published code would."""

    def __init__(self, name: str, identity: str) -> None:
        self.host = Draws(0, f"shift/{name}")
        self.tensor = TensorDraws(self.host, (identity,), torch.device("cpu"))
        self.ids = (identity,)

    def normal(self, step: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.tensor.normal(step, shape)[0].numpy().astype(np.float64)

    def angle(self, start: float) -> float:
        return start + 90.0 * float(self.host.uniform(self.ids, "angle", (1,))[0, 0])

    def words(self, step: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.host.words(self.ids, step, int(np.prod(shape)))[0].reshape(shape)


def _noise(name: str) -> Callable[..., np.ndarray]:
    def make(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
        noise = drawn.normal("noise", (x.shape[2], *x.shape[:2])).transpose(1, 2, 0)
        found: np.ndarray = getattr(published, name)(x, level[0], noise)
        return found

    return make


def _plain(name: str) -> Callable[..., np.ndarray]:
    def make(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
        found: np.ndarray = getattr(published, name)(x, *level)
        return found

    return make


def _glass(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    sigma, reach, sweeps = level[0], int(level[1]), int(level[2])
    words = [drawn.words(f"sweep-{sweep}", x.shape[:2]) for sweep in range(sweeps)]

    def draw(sweep: int, h: int, w: int) -> tuple[int, int]:
        word = int(words[sweep][h, w])
        steps = [(half * 2 * reach >> 16) - reach for half in (word >> 16, word & 0xFFFF)]
        return steps[0], steps[1]

    found: np.ndarray = published.glass_blur(x, sigma, reach, sweeps, draw)
    return found


def _motion(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    found: np.ndarray = published.motion_blur(x, level[0], level[1], drawn.angle(-45.0))
    return found


def _snow(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    noise = drawn.normal("flakes", (1, *x.shape[:2]))[0]
    found: np.ndarray = published.snow(x, level, noise, drawn.angle(-135.0))
    return found


def _frost(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    whole = texture(
        int(drawn.host.integers(drawn.ids, "texture", (1,), high=TEXTURES)[0, 0]), int(level[2])
    )
    top, left = (
        int(drawn.host.integers(drawn.ids, f"cut-{side}", (1,), high=whole.shape[0])[0, 0])
        for side in ("down", "across")
    )
    cut = np.roll(whole, (-top, -left), (0, 1))[: x.shape[0], : x.shape[1]]
    cut = cut if x.shape[2] == 3 else published.grey(cut.astype(np.float64))
    found: np.ndarray = published.frost(x, level, cut)
    return found


def _fog(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    side = 1 << (max(x.shape[:2]) - 1).bit_length()
    uniform = 2.0 * drawn.host.uniform(drawn.ids, "plasma", (side * side - 1,))[0] - 1.0
    queue = iter(uniform.astype(np.float64))

    def draw(count: int) -> np.ndarray:
        return np.array([next(queue) for _ in range(count)])

    found: np.ndarray = published.fog(x, level[0], published.plasma(side, level[1], draw))
    return found


def _elastic(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    moves = 2.0 * drawn.host.uniform(drawn.ids, "points", (3, 2))[0].astype(np.float64) - 1.0
    fields = 2.0 * drawn.host.uniform(drawn.ids, "field", (2, *x.shape[:2]))[0] - 1.0
    lengths = tuple(share * min(x.shape[:2]) for share in level)
    found: np.ndarray = published.elastic_transform(x, lengths, moves, fields.astype(np.float64))
    return found


def _spatter(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    noise = drawn.normal("liquid", (1, *x.shape[:2]))[0]
    found: np.ndarray = published.spatter(x, level, noise)
    return found


READINGS: dict[str, Callable[..., np.ndarray]] = {
    "gaussian_noise": _noise("gaussian_noise"),
    "speckle_noise": _noise("speckle_noise"),
    "defocus_blur": _plain("defocus_blur"),
    "gaussian_blur": _plain("gaussian_blur"),
    "glass_blur": _glass,
    "motion_blur": _motion,
    "zoom_blur": _plain("zoom_blur"),
    "snow": _snow,
    "frost": _frost,
    "fog": _fog,
    "brightness": _plain("brightness"),
    "contrast": _plain("contrast"),
    "elastic_transform": _elastic,
    "pixelate": _plain("pixelate"),
    "jpeg_compression": _plain("jpeg_compression"),
    "spatter": _spatter,
    "saturate": _plain("saturate"),
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("parameters", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", READINGS)
def test_a_kernel_is_what_was_published(
    name: str, parameters: str, channels: int, photos: Callable[..., np.ndarray]
) -> None:
    kernel = KERNELS[name]
    if channels not in kernel.channels:
        pytest.skip("not defined for one channel")
    severities = (1, 3, 5) if channels == 3 else (4,)
    pixels = photos(len(IDS), SIDES[parameters], channels)
    draws = TensorDraws(Draws(0, f"shift/{name}"), IDS, torch.device("cpu"))
    made = corrupt(kernel, tensor_of(pixels), severities, parameters, draws)
    for severity, images in zip(severities, made, strict=True):
        level = kernel.level(parameters, severity)
        for place, identity in enumerate(IDS):
            expected = READINGS[name](pixels[place], level, Drawn(name, identity))
            expected = np.floor(expected + 2.0**-10)
            apart = np.abs(pixels_of(images)[place] - expected).mean()
            assert apart < (CLOSE if name == "spatter" else 0.25), (severity, identity)


def test_pixelate_is_the_same_on_every_device(photos: Callable[..., np.ndarray]) -> None:
    for side, channels in ((96, 3), (64, 1), (33, 3), (7, 1)):
        images = tensor_of(photos(2, side, channels))[..., : side - side // 5]
        wide = images.shape[3]
        shares = (0.95, 0.75, 0.6, 0.5, 0.3, 0.25, 1 / side)
        sizes = [(max(1, int(side * left)), max(1, int(wide * left))) for left in shares]
        by_pillow = list(digital.pixelated_by_pillow(images, sizes))
        for size, first, second in zip(
            sizes, by_pillow, digital.pixelated_by_torch(images, sizes), strict=True
        ):
            assert first.dtype == second.dtype == torch.float32
            assert first.shape == second.shape == images.shape
            # A pixel whose middle lies on the edge of two boxes may be in either.
            apart = 255 * (first - second).abs()
            assert apart.mean() < 0.25, (side, size)
            if all(whole % part == 0 for whole, part in zip((side, wide), size, strict=True)):
                assert apart.max() < 1e-3, (side, size)


def test_every_published_kernel_is_read() -> None:
    published_kernels = {
        name for name, kernel in KERNELS.items() if kernel.family not in {"geometric", "domain"}
    }
    assert published_kernels - set(READINGS) == {"shot_noise", "impulse_noise"}
