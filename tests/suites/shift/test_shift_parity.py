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
from PIL import Image
from scipy import ndimage

from crucibench.contracts.corruption import CorruptionContext
from crucibench.util.draws import Draws
from crucibench.util.tensor_draws import TensorDraws
from crucibench_suites.shift.corruptions import digital
from crucibench_suites.shift.corruptions._frost import TEXTURES, texture
from crucibench_suites.shift.corruptions.images import IMAGES


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


def _moved(where: Callable[[float, Drawn], tuple[Any, Any]]) -> Callable[..., np.ndarray]:
    """Moves by scipy: `where` returns a map of (x, y) about the middle, and shares of the sides."""

    def make(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
        linear, shift = where(level[0], drawn)
        middle = (np.array(x.shape[1::-1]) - 1) / 2
        back = np.linalg.inv(np.asarray(linear, dtype=np.float64))
        offset = middle - back @ (middle + np.asarray(shift) * x.shape[1::-1])
        planes = [
            ndimage.affine_transform(
                plane, back[::-1, ::-1], offset[::-1], order=1, mode="grid-constant"
            )
            for plane in x.astype(np.float64).transpose(2, 0, 1)
        ]
        return np.stack(planes, axis=2)

    return make


def _sign(drawn: Drawn) -> float:
    return 2.0 * int(drawn.host.integers(drawn.ids, "direction", (1,), high=2)[0, 0]) - 1.0


def _rotated(degrees: float, drawn: Drawn) -> tuple[Any, Any]:
    c, s = (turn(np.deg2rad(degrees) * _sign(drawn)) for turn in (np.cos, np.sin))
    return [[c, s], [-s, c]], (0, 0)


def _translated(share: float, drawn: Drawn) -> tuple[Any, Any]:
    angle = 2 * np.pi * float(drawn.host.uniform(drawn.ids, "direction", (1,))[0, 0])
    return np.eye(2), (share * np.cos(angle), share * np.sin(angle))


def _scaled(factor: float, drawn: Drawn) -> tuple[Any, Any]:
    return np.eye(2) * (factor if _sign(drawn) > 0 else 1 / factor), (0, 0)


def _sheared(degrees: float, drawn: Drawn) -> tuple[Any, Any]:
    return [[1, _sign(drawn) * np.tan(np.deg2rad(degrees))], [0, 1]], (0, 0)


def _grey(x: np.ndarray) -> np.ndarray:
    found: np.ndarray = x if x.shape[2] == 1 else (x @ [0.299, 0.587, 0.114])[..., None]
    return found


def _greyscale(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    return (1 - level[0]) * x + level[0] * _grey(x)


def _jitter(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    factors = 1 + level[0] * (2.0 * drawn.host.uniform(drawn.ids, "factors", (6,))[0] - 1.0)
    bright = np.clip(x * factors[0], 0, 255)
    middle = _grey(bright).mean()
    steep = np.clip(middle + (bright - middle) * factors[1], 0, 255)
    coloured = _grey(steep) + (steep - _grey(steep)) * factors[2]
    return np.clip(np.clip(coloured, 0, 255) * (1 + (factors[3:] - 1) / 2), 0, 255)


def _filtered(high: bool) -> Callable[..., np.ndarray]:
    def make(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
        down, across = (np.fft.fftfreq(side) * 2 for side in x.shape[:2])
        radius = np.sqrt(down[:, None] ** 2 + across**2)
        kept = radius <= level[0]
        if high:
            kept = (radius == 0) | (radius > max(level[0], 2 / max(x.shape[:2])))
        spectrum = np.fft.fft2(x.astype(np.float64), axes=(0, 1)) * kept[..., None]
        return np.clip(np.fft.ifft2(spectrum, axes=(0, 1)).real, 0, 255)

    return make


def _sketch(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    smooth = ndimage.gaussian_filter(_grey(x)[..., 0].astype(np.float64), 0.5, mode="nearest")
    strength = np.hypot(*(ndimage.sobel(smooth, axis, mode="nearest") for axis in (0, 1)))
    drawing = 255 * (1 - strength / strength.max())[..., None]
    return (1 - level[0]) * x + level[0] * drawing


def _resolution(x: np.ndarray, level: tuple[float, ...], drawn: Drawn) -> np.ndarray:
    small = [max(1, round(side * level[0])) for side in x.shape[1::-1]]
    planes = [
        Image.fromarray(plane.astype(np.float32))
        .resize(small, Image.Resampling.BILINEAR)
        .resize(x.shape[1::-1], Image.Resampling.BILINEAR)
        for plane in x.transpose(2, 0, 1)
    ]
    return np.stack([np.asarray(plane) for plane in planes], axis=2)


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
    "rotation": _moved(_rotated),
    "translation": _moved(_translated),
    "scale": _moved(_scaled),
    "shear": _moved(_sheared),
    "greyscale": _greyscale,
    "colour_jitter": _jitter,
    "low_pass": _filtered(high=False),
    "high_pass": _filtered(high=True),
    "edge_sketch": _sketch,
    "resolution": _resolution,
}


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("parameters", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", READINGS)
def test_a_kernel_is_what_was_published(
    name: str, parameters: str, channels: int, photos: Callable[..., np.ndarray]
) -> None:
    kernel = IMAGES[name]
    if channels == 1 and kernel.needs == "colour":
        pytest.skip("not defined for one channel")
    severities = (1, 3, 5) if channels == 3 else (4,)
    pixels = photos(len(IDS), SIDES[parameters], channels)
    context = CorruptionContext(IDS, Draws(0, f"shift/{name}"))
    made = kernel.apply(tensor_of(pixels), severities, context, parameters)
    for severity, images in zip(severities, made, strict=True):
        level = kernel.level(severity, parameters)
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


def test_every_kernel_is_read() -> None:
    # Of two the distribution is known (`test_shift_statistics`), and no single image; the grid
    # is of rotations and translations.
    assert set(IMAGES) - set(READINGS) == {"shot_noise", "impulse_noise", "geometric_worst"}
