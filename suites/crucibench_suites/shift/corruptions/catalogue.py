"""Every kernel: its name, family, version, and what its severities 1 to 5 mean.

Plain data, so that plans are made without torch. The published constants are those of
Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations" (ICLR 2019): ``imagenet`` as ImageNet-C was made for 224 pixels, ``cifar`` as
CIFAR-10-C for 32. What a level's numbers are stands with each kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = tuple[float, ...]
ParameterSet = Literal["imagenet", "cifar"]
Family = Literal["noise", "blur", "weather", "digital", "extra", "geometric", "domain"]

SEVERITIES = (1, 2, 3, 4, 5)
LARGEST_SMALL = 64
"""Canonical images of up to so many pixels a side are corrupted as CIFAR-10-C is."""

_EIGHT_BIT = 1 / 255


def parameter_set(height: int, width: int) -> ParameterSet:
    """Returns the published set that fits a canonical size."""
    return "cifar" if max(height, width) <= LARGEST_SMALL else "imagenet"


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One corruption.

    Attributes:
        name: as users and the published files write it.
        family: what kind it is.
        function: ``MODULE:FUNCTION`` in this package.
        levels: by parameter set, severities 1 to 5.
        version: raised whenever the same image, level and draws would give other pixels.
        random: whether it draws.
        channels: the numbers of channels that it is defined for.
        ordered: whether a higher severity is meant to lie further from the clean image.
        most: from a level to a mean absolute distance that it can't exceed, on the scale 0 to 1.
    """

    name: str
    family: Family
    function: str
    levels: Mapping[str, tuple[Level, ...]] = field(repr=False)
    version: int = 1
    random: bool = False
    channels: tuple[int, ...] = (1, 3)
    ordered: bool = True
    most: Callable[[Level], float] = lambda level: 1.0

    def level(self, parameters: str, severity: int) -> Level:
        """Returns what a severity means in a parameter set.

        Raises:
            KeyError: if it is not from 1 to 5.
        """
        if severity not in SEVERITIES:
            raise KeyError(severity)
        return self.levels[parameters][severity - 1]


def _each(*values: float) -> tuple[Level, ...]:
    return tuple((value,) for value in values)


def _arange(*ends: float, steps: tuple[float, ...]) -> tuple[Level, ...]:
    return tuple(zip(ends, steps, strict=True))


_NOISE = (
    Kernel(
        name="gaussian_noise", family="noise", function="noise:gaussian_noise", random=True,
        levels={
            "imagenet": _each(0.08, 0.12, 0.18, 0.26, 0.38),
            "cifar": _each(0.04, 0.06, 0.08, 0.09, 0.10),
        },
        most=lambda level: level[0] + _EIGHT_BIT,
    ),
    Kernel(
        name="shot_noise", family="noise", function="noise:shot_noise", random=True,
        levels={
            "imagenet": _each(60, 25, 12, 5, 3),
            "cifar": _each(500, 250, 100, 75, 50),
        },
        most=lambda level: level[0] ** -0.5 + _EIGHT_BIT,
    ),
    Kernel(
        name="impulse_noise", family="noise", function="noise:impulse_noise", random=True,
        levels={
            "imagenet": _each(0.03, 0.06, 0.09, 0.17, 0.27),
            "cifar": _each(0.01, 0.02, 0.03, 0.05, 0.07),
        },
        most=lambda level: level[0] + _EIGHT_BIT,
    ),
)  # fmt: skip

_BLUR = (
    Kernel(
        name="defocus_blur", family="blur", function="blur:defocus_blur",
        levels={
            "imagenet": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
            "cifar": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        },
    ),
    Kernel(
        name="glass_blur", family="blur", function="blur:glass_blur", random=True, ordered=False,
        levels={
            "imagenet": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
            "cifar": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        },
    ),
    Kernel(
        name="motion_blur", family="blur", function="blur:motion_blur", random=True,
        levels={
            "imagenet": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
            "cifar": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        },
    ),
    Kernel(
        name="zoom_blur", family="blur", function="blur:zoom_blur", ordered=False,
        levels={
            "imagenet": _arange(
                1.11, 1.16, 1.21, 1.26, 1.31, steps=(0.01, 0.01, 0.02, 0.02, 0.03)
            ),
            "cifar": _arange(1.06, 1.11, 1.16, 1.21, 1.26, steps=(0.01,) * 5),
        },
    ),
)  # fmt: skip

_WEATHER = (
    Kernel(
        name="snow", family="weather", function="weather:snow", random=True, ordered=False,
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
    ),
    Kernel(
        name="frost", family="weather", function="weather:frost", random=True, ordered=False,
        levels={
            "imagenet": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
            "cifar": ((1, 0.2, 5), (1, 0.3, 5), (0.9, 0.4, 5), (0.85, 0.4, 5), (0.75, 0.45, 5)),
        },
        most=lambda level: max(level[1], 1 - level[0]) + _EIGHT_BIT,
    ),
    Kernel(
        name="fog", family="weather", function="weather:fog", random=True, ordered=False,
        levels={
            "imagenet": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
            "cifar": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        },
        most=lambda level: level[0] / (1 + level[0]) + _EIGHT_BIT,
    ),
    Kernel(
        name="brightness", family="weather", function="weather:brightness",
        levels={
            "imagenet": _each(0.1, 0.2, 0.3, 0.4, 0.5),
            "cifar": _each(0.05, 0.1, 0.15, 0.2, 0.3),
        },
        most=lambda level: level[0] + _EIGHT_BIT,
    ),
)  # fmt: skip

_DIGITAL = (
    Kernel(
        name="contrast", family="digital", function="digital:contrast",
        levels={
            "imagenet": _each(0.4, 0.3, 0.2, 0.1, 0.05),
            "cifar": _each(0.75, 0.5, 0.4, 0.3, 0.15),
        },
        # Values of mean m lie at most 2 m (1 - m) from it on average.
        most=lambda level: 0.5 * (1 - level[0]) + _EIGHT_BIT,
    ),
    Kernel(
        name="elastic_transform", family="digital", function="digital:elastic_transform",
        random=True, ordered=False,
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
    ),
    Kernel(
        name="pixelate", family="digital", function="digital:pixelate", ordered=False,
        levels={
            "imagenet": _each(0.6, 0.5, 0.4, 0.3, 0.25),
            "cifar": _each(0.95, 0.9, 0.85, 0.75, 0.65),
        },
    ),
    Kernel(
        name="jpeg_compression", family="digital", function="digital:jpeg_compression",
        levels={
            "imagenet": _each(25, 18, 15, 10, 7),
            "cifar": _each(80, 65, 58, 50, 40),
        },
    ),
)  # fmt: skip

_EXTRA = (
    Kernel(
        name="speckle_noise", family="extra", function="noise:speckle_noise", random=True,
        levels={
            "imagenet": _each(0.15, 0.2, 0.35, 0.45, 0.6),
            "cifar": _each(0.06, 0.1, 0.12, 0.16, 0.2),
        },
        most=lambda level: level[0] + _EIGHT_BIT,
    ),
    Kernel(
        name="gaussian_blur", family="extra", function="blur:gaussian_blur",
        levels={
            "imagenet": _each(1, 2, 3, 4, 6),
            "cifar": _each(0.4, 0.6, 0.7, 0.8, 1),
        },
    ),
    Kernel(
        name="spatter", family="extra", function="extra:spatter", random=True, ordered=False,
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
    ),
    Kernel(
        name="saturate", family="extra", function="extra:saturate", channels=(3,), ordered=False,
        levels={
            "imagenet": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
            "cifar": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        },
    ),
)  # fmt: skip


def _own(
    name: str, family: Family, function: str, *levels: Level, random: bool = False,
    channels: tuple[int, ...] = (1, 3), ordered: bool = True,
) -> Kernel:  # fmt: skip
    """Returns a kernel of the project's own, whose levels fit every size."""
    return Kernel(
        name=name, family=family, function=function, random=random, channels=channels,
        ordered=ordered, levels={"imagenet": levels, "cifar": levels},
    )  # fmt: skip


_GEOMETRIC = (
    _own("rotation", "geometric", "geometric:rotation", (5,), (10,), (15,), (22.5,), (30,),
         random=True),
    _own("translation", "geometric", "geometric:translation", (0.04,), (0.08,), (0.12,), (0.16,),
         (0.2,), random=True),
    _own("scale", "geometric", "geometric:scale", (1.05,), (1.1,), (1.2,), (1.3,), (1.5,),
         random=True),
    _own("shear", "geometric", "geometric:shear", (5,), (10,), (15,), (22.5,), (30,),
         random=True),
)  # fmt: skip

_DOMAIN = (
    _own("greyscale", "domain", "domain:greyscale", (0.2,), (0.4,), (0.6,), (0.8,), (1,),
         channels=(3,)),
    _own("colour_jitter", "domain", "domain:colour_jitter", (0.1,), (0.2,), (0.3,), (0.4,),
         (0.5,), random=True, channels=(3,), ordered=False),
    _own("low_pass", "domain", "domain:low_pass", (0.5,), (0.35,), (0.25,), (0.15,), (0.1,)),
    _own("high_pass", "domain", "domain:high_pass", (0.02,), (0.04,), (0.06,), (0.09,), (0.13,),
         ordered=False),
    _own("edge_sketch", "domain", "domain:edge_sketch", (0.2,), (0.4,), (0.6,), (0.8,), (1,)),
    _own("resolution", "domain", "domain:resolution", (0.75,), (0.6,), (0.5,), (0.35,), (0.25,)),
)  # fmt: skip

COMMON = tuple(kernel.name for kernel in (*_NOISE, *_BLUR, *_WEATHER, *_DIGITAL))
"""The 15 corruptions of the mean corruption error, in the published order."""

EXTRA = tuple(kernel.name for kernel in _EXTRA)
GEOMETRIC = tuple(kernel.name for kernel in _GEOMETRIC)
DOMAIN = tuple(kernel.name for kernel in _DOMAIN)

KERNELS: Mapping[str, Kernel] = {
    kernel.name: kernel
    for kernel in (*_NOISE, *_BLUR, *_WEATHER, *_DIGITAL, *_EXTRA, *_GEOMETRIC, *_DOMAIN)
}
"""Every kernel by name."""
