"""Every corruption of images: its name, family, and what its severities mean.

Plain data, so that plans are made without torch. The published constants are those of
Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019): ``imagenet`` as ImageNet-C was made for 224 pixels, ``cifar`` as
CIFAR-10-C for 32. Levels without a parameter set are the project's own, and fit every size. What a
level's numbers are stands with each function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

from crucibench.contracts.corruption import Corruption, Level, each

ParameterSet = Literal["imagenet", "cifar"]

LARGEST_SMALL = 64
"""Canonical images of up to so many pixels a side are corrupted as CIFAR-10-C is."""

_EIGHT_BIT = 1 / 255
_HERE = "crucibench_suites.shift.corruptions"


def parameter_set(height: int, width: int) -> ParameterSet:
    """Returns the published set that fits a canonical size."""
    return "cifar" if max(height, width) <= LARGEST_SMALL else "imagenet"


def _image(
    name: str, family: str, module: str, levels: Sequence[Level] | Mapping[str, Sequence[Level]],
    **more: Any,
) -> Corruption:  # fmt: skip
    """Returns the corruption that the function of its name in `module` makes."""
    maps = f"{_HERE}.{module}:{name}_maps" if family == "geometric" else None
    return Corruption(
        name=name, family=family, modality="image", function=f"{_HERE}.{module}:{name}",
        levels=levels, known_answer=f"{_HERE}.known_answers:IMAGES", maps=maps, **more,
    )  # fmt: skip


def _arange(*ends: float, steps: tuple[float, ...]) -> tuple[Level, ...]:
    return tuple(zip(ends, steps, strict=True))


gaussian_noise = _image(
    "gaussian_noise", "noise", "noise", random=True,
    levels={
        "imagenet": each(0.08, 0.12, 0.18, 0.26, 0.38),
        "cifar": each(0.04, 0.06, 0.08, 0.09, 0.10),
    },
    most=lambda level: level[0] + _EIGHT_BIT,
)  # fmt: skip

shot_noise = _image(
    "shot_noise", "noise", "noise", random=True,
    levels={
        "imagenet": each(60, 25, 12, 5, 3),
        "cifar": each(500, 250, 100, 75, 50),
    },
    most=lambda level: level[0] ** -0.5 + _EIGHT_BIT,
)  # fmt: skip

impulse_noise = _image(
    "impulse_noise", "noise", "noise", random=True,
    levels={
        "imagenet": each(0.03, 0.06, 0.09, 0.17, 0.27),
        "cifar": each(0.01, 0.02, 0.03, 0.05, 0.07),
    },
    most=lambda level: level[0] + _EIGHT_BIT,
)  # fmt: skip

defocus_blur = _image(
    "defocus_blur", "blur", "blur",
    levels={
        "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
)  # fmt: skip

glass_blur = _image(
    "glass_blur", "blur", "blur", random=True, ordered=False,
    levels={
        "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
)  # fmt: skip

motion_blur = _image(
    "motion_blur", "blur", "blur", random=True,
    levels={
        "imagenet": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "cifar": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
)  # fmt: skip

zoom_blur = _image(
    "zoom_blur", "blur", "blur", ordered=False,
    levels={
        "imagenet": _arange(
            1.11, 1.16, 1.21, 1.26, 1.31, steps=(0.01, 0.01, 0.02, 0.02, 0.03)
        ),
        "cifar": _arange(1.06, 1.11, 1.16, 1.21, 1.26, steps=(0.01,) * 5),
    },
)  # fmt: skip

snow = _image(
    "snow", "weather", "weather", random=True, ordered=False,
    levels={
        "imagenet": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7), (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "cifar": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9), (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    },
)  # fmt: skip

frost = _image(
    "frost", "weather", "weather", random=True, ordered=False,
    levels={
        "imagenet": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        "cifar": ((1, 0.2, 5), (1, 0.3, 5), (0.9, 0.4, 5), (0.85, 0.4, 5), (0.75, 0.45, 5)),
    },
    most=lambda level: max(level[1], 1 - level[0]) + _EIGHT_BIT,
)  # fmt: skip

fog = _image(
    "fog", "weather", "weather", random=True, ordered=False,
    levels={
        "imagenet": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "cifar": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    most=lambda level: level[0] / (1 + level[0]) + _EIGHT_BIT,
)  # fmt: skip

brightness = _image(
    "brightness", "weather", "weather",
    levels={
        "imagenet": each(0.1, 0.2, 0.3, 0.4, 0.5),
        "cifar": each(0.05, 0.1, 0.15, 0.2, 0.3),
    },
    most=lambda level: level[0] + _EIGHT_BIT,
)  # fmt: skip

contrast = _image(
    "contrast", "digital", "digital",
    levels={
        "imagenet": each(0.4, 0.3, 0.2, 0.1, 0.05),
        "cifar": each(0.75, 0.5, 0.4, 0.3, 0.15),
    },
    # Values of mean m lie at most 2 m (1 - m) from it on average.
    most=lambda level: 0.5 * (1 - level[0]) + _EIGHT_BIT,
)  # fmt: skip

elastic_transform = _image(
    "elastic_transform", "digital", "digital", random=True, ordered=False,
    levels={
        # The published lengths are shares of 244 for images of 224 pixels.
        "imagenet": tuple(
            tuple(share * 244 / 224 for share in level)
            for level in (
                (2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02),
                (0.12, 0.01, 0.02),
            )
        ),
        "cifar": (
            (0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
    },
)  # fmt: skip

pixelate = _image(
    "pixelate", "digital", "digital", ordered=False,
    levels={
        "imagenet": each(0.6, 0.5, 0.4, 0.3, 0.25),
        "cifar": each(0.95, 0.9, 0.85, 0.75, 0.65),
    },
)  # fmt: skip

jpeg_compression = _image(
    "jpeg_compression", "digital", "digital",
    levels={
        "imagenet": each(25, 18, 15, 10, 7),
        "cifar": each(80, 65, 58, 50, 40),
    },
)  # fmt: skip

speckle_noise = _image(
    "speckle_noise", "extra", "noise", random=True,
    levels={
        "imagenet": each(0.15, 0.2, 0.35, 0.45, 0.6),
        "cifar": each(0.06, 0.1, 0.12, 0.16, 0.2),
    },
    most=lambda level: level[0] + _EIGHT_BIT,
)  # fmt: skip

gaussian_blur = _image(
    "gaussian_blur", "extra", "blur",
    levels={
        "imagenet": each(1, 2, 3, 4, 6),
        "cifar": each(0.4, 0.6, 0.7, 0.8, 1),
    },
)  # fmt: skip

spatter = _image(
    "spatter", "extra", "weather", random=True, ordered=False,
    levels={
        "imagenet": (
            (0.65, 0.3, 4, 0.69, 0.6, 0), (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0), (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "cifar": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0), (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0), (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
    },
)  # fmt: skip

saturate = _image(
    "saturate", "extra", "domain", needs="colour", ordered=False,
    levels={
        "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
)  # fmt: skip

rotation = _image(
    "rotation", "geometric", "geometric", each(5, 10, 15, 22.5, 30), random=True,
)  # fmt: skip

translation = _image(
    "translation", "geometric", "geometric", each(0.04, 0.08, 0.12, 0.16, 0.2), random=True,
)  # fmt: skip

scale = _image(
    "scale", "geometric", "geometric", each(1.05, 1.1, 1.2, 1.3, 1.5), random=True,
)  # fmt: skip

shear = _image(
    "shear", "geometric", "geometric", each(5, 10, 15, 22.5, 30), random=True,
)  # fmt: skip

greyscale = _image(
    "greyscale", "domain", "domain", each(0.2, 0.4, 0.6, 0.8, 1), needs="colour",
)  # fmt: skip

colour_jitter = _image(
    "colour_jitter", "domain", "domain", each(0.1, 0.2, 0.3, 0.4, 0.5), random=True,
    needs="colour", ordered=False,
)  # fmt: skip

low_pass = _image(
    "low_pass", "domain", "domain", each(0.5, 0.35, 0.25, 0.15, 0.1),
)  # fmt: skip

high_pass = _image(
    "high_pass", "domain", "domain", each(0.02, 0.04, 0.06, 0.09, 0.13), ordered=False,
)  # fmt: skip

edge_sketch = _image(
    "edge_sketch", "domain", "domain", each(0.2, 0.4, 0.6, 0.8, 1),
)  # fmt: skip

resolution = _image(
    "resolution", "domain", "domain", each(0.75, 0.6, 0.5, 0.35, 0.25),
)  # fmt: skip

geometric_worst = _image(
    "geometric_worst", "geometric", "geometric",
    tuple(product((-30.0, -15.0, 0.0, 15.0, 30.0), (-0.1, 0.0, 0.1), (-0.1, 0.0, 0.1))),
    axes=("rotation", "across", "down"), ordered=False,
)  # fmt: skip
"""A grid of rotations (degrees about the middle) and translations (shares of the sides).

Engstrom et al., "Exploring the landscape of spatial robustness" (ICML 2019), whose ranges, 30
degrees and a tenth of the image, are cut more coarsely here.
"""

_COMMON = (
    gaussian_noise, shot_noise, impulse_noise,
    defocus_blur, glass_blur, motion_blur, zoom_blur,
    snow, frost, fog, brightness,
    contrast, elastic_transform, pixelate, jpeg_compression,
)  # fmt: skip
_EXTRA = (speckle_noise, gaussian_blur, spatter, saturate)
_GEOMETRIC = (rotation, translation, scale, shear, geometric_worst)
_DOMAIN = (greyscale, colour_jitter, low_pass, high_pass, edge_sketch, resolution)

COMMON = tuple(one.name for one in _COMMON)
"""The 15 corruptions of the mean corruption error, in the published order."""

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "common": COMMON,
    "extra": tuple(one.name for one in _EXTRA),
    "geometric": tuple(one.name for one in _GEOMETRIC),
    "domain": tuple(one.name for one in _DOMAIN),
}
"""Names that stand for several corruptions."""

IMAGES: Mapping[str, Corruption] = {
    one.name: one for one in (*_COMMON, *_EXTRA, *_GEOMETRIC, *_DOMAIN)
}
"""The suite's own corruptions of images by name, in the order of reports."""
