"""Unfamiliar images, made of familiar ones. Inputs are float32 tensors (N, C, H, W) in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench_suites.ood.generators import Generator, Making

_PATCHES = 2
_CHECKS = (2, 8)


class UniformNoise(Generator):
    """Noise without structure."""

    name = "uniform-noise"
    kind = "far"
    definition = "Each pixel and channel uniform in [0, 1]."

    def make(self, making: Making) -> Any:
        import torch

        shape = tuple(making.batch.inputs.shape[1:])
        return torch.from_numpy(making.draws.uniform(making.batch.ids, "pixels", shape))


class Constant(Generator):
    """One colour."""

    name = "constant"
    kind = "far"
    definition = "All pixels of one colour, each channel uniform in [0, 1]."

    def make(self, making: Making) -> Any:
        import torch

        images = making.batch.inputs
        colour = making.draws.uniform(making.batch.ids, "colour", (images.shape[1], 1, 1))
        return torch.from_numpy(colour).expand(images.shape).clone()


class PixelPermutation(Generator):
    """The same pixels in another order."""

    name = "pixel-permutation"
    kind = "far"
    definition = "The image's own pixels in random order, channels together."

    def make(self, making: Making) -> Any:
        images = making.batch.inputs
        flat = images.flatten(start_dim=2)
        order = _orders(making, "order", flat.shape[2])
        return flat.gather(2, order[:, None, :].expand(flat.shape)).reshape(images.shape)


class PhaseScrambling(Generator):
    """The same spectrum with other phases: looks like texture, has the image's own statistics."""

    name = "phase-scrambling"
    kind = "far"
    definition = (
        "The phases of white noise, the same in all channels, are added to the image's Fourier "
        "phases, amplitudes kept; then cut off at 0 and 1."
    )

    def make(self, making: Making) -> Any:
        import torch

        images = making.batch.inputs.double()
        height, width = images.shape[2:]
        noise = making.draws.normal(making.batch.ids, "phases", (1, height, width))
        phases = torch.fft.rfft2(torch.from_numpy(noise).double()).angle()
        # The mean has no phase: brightness stays.
        phases[..., 0, 0] = 0.0
        turned = torch.fft.rfft2(images) * torch.polar(torch.ones_like(phases), phases)
        made = torch.fft.irfft2(turned, s=(height, width))
        return made.clamp(0.0, 1.0).float()


class Textures(Generator):
    """Procedural textures."""

    name = "textures"
    kind = "far"
    definition = (
        "One in three each: a checkerboard of 2 to 8 fields a side, a grating of 1 to a quarter of "
        "the pixels waves, or rings; random angle, phase and colours."
    )

    def make(self, making: Making) -> Any:
        import torch

        images = making.batch.inputs
        channels, height, width = images.shape[1:]
        u = making.draws.uniform(making.batch.ids, "texture", (5,)).astype(np.float64)
        kind = making.draws.integers(making.batch.ids, "kind", (1,), high=3)[:, 0]
        y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
        pattern = np.stack([_texture(x, y, int(k), row) for k, row in zip(kind, u, strict=True)])
        ends = making.draws.uniform(making.batch.ids, "colours", (2, channels, 1, 1))
        mixed = ends[:, 0] + (ends[:, 1] - ends[:, 0]) * pattern[:, None].astype(np.float32)
        return torch.from_numpy(np.ascontiguousarray(mixed, dtype=np.float32))


class PatchShuffle(Generator):
    """The same patches in other places."""

    name = "patch-shuffle"
    kind = "near"
    definition = (
        "The image's four quarters in another order, none of the orders being the image itself."
    )

    def make(self, making: Making) -> Any:
        import torch

        images = making.batch.inputs
        height, width = (size // _PATCHES for size in images.shape[2:])
        if not height or not width:
            return images.clone()
        made = images.clone()
        orders = _shuffles(making)
        corners = [(row * height, column * width) for row in (0, 1) for column in (0, 1)]
        for to, (top, left) in enumerate(corners):
            source = orders[:, to]
            for of, (from_top, from_left) in enumerate(corners):
                rows = torch.from_numpy(np.flatnonzero(source == of))
                made[rows, :, top : top + height, left : left + width] = images[
                    rows, :, from_top : from_top + height, from_left : from_left + width
                ]
        return made


class ClassMixture(Generator):
    """Between two classes."""

    name = "class-mixture"
    kind = "near"
    partners = True
    definition = "The mean of the image and one of another class, drawn from the test role."

    def make(self, making: Making) -> Any:
        if making.partners is None:
            raise TypeError("class-mixture: expected partners")
        return 0.5 * (making.batch.inputs + making.partners.inputs)


class Inverted(Generator):
    """The negative."""

    name = "inverted"
    kind = "validation"
    definition = "1 minus the image."

    def make(self, making: Making) -> Any:
        return 1.0 - making.batch.inputs


class Speckled(Generator):
    """Strong multiplicative noise."""

    name = "speckled"
    kind = "validation"
    definition = "Each pixel x becomes x + x n, n standard normal, cut off to [0, 1]."

    def make(self, making: Making) -> Any:
        import torch

        images = making.batch.inputs
        noise = making.draws.normal(making.batch.ids, "noise", tuple(images.shape[1:]))
        return (images + images * torch.from_numpy(noise)).clamp(0.0, 1.0)


class Strips(Generator):
    """Another arrangement of familiar parts, unlike those that are scored."""

    name = "strips"
    kind = "validation"
    partners = True
    definition = "The image's left half beside the right half of one of another class."

    def make(self, making: Making) -> Any:
        if making.partners is None:
            raise TypeError("strips: expected partners")
        made = making.batch.inputs.clone()
        half = made.shape[3] // 2
        made[..., half:] = making.partners.inputs[..., half:]
        return made


GENERATORS: tuple[type[Generator], ...] = (
    PatchShuffle,
    ClassMixture,
    UniformNoise,
    Constant,
    PixelPermutation,
    PhaseScrambling,
    Textures,
    Inverted,
    Speckled,
    Strips,
)


def _orders(making: Making, step: str, count: int) -> Any:
    """Returns a random order of `count` things for each sample, int64 tensor (N, count)."""
    import torch

    words = making.draws.words(making.batch.ids, step, count)
    return torch.from_numpy(np.argsort(words, axis=1, kind="stable"))


def _shuffles(making: Making) -> NDArray[np.int64]:
    """Returns an order of four for each sample, not the order that they have, (N, 4)."""
    from itertools import permutations

    others = np.array(list(permutations(range(_PATCHES * _PATCHES)))[1:])
    drawn = making.draws.integers(making.batch.ids, "order", (1,), high=len(others))[:, 0]
    return np.asarray(others[drawn])


def _texture(
    x: NDArray[np.float64], y: NDArray[np.float64], kind: int, u: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns one pattern in [0, 1]."""
    if kind == 0:
        low, high = _CHECKS
        fields = low + math.floor(u[0] * (high - low + 1))
        return np.asarray((np.floor(x * fields + u[1]) + np.floor(y * fields + u[2])) % 2)
    waves = 1.0 + u[0] * (max(x.shape) / 4 - 1)
    if kind == 1:
        angle = math.pi * u[1]
        way = x * math.cos(angle) + y * math.sin(angle)
    else:
        way = np.hypot(x - u[1], y - u[2])
    return np.asarray(0.5 + 0.5 * np.sin(2 * math.pi * (waves * way + u[3])))


def statistics(images: Any) -> Mapping[str, Any]:
    """Returns what inputs look like without any model: numbers by name, each of shape (N,)."""
    images = images.double()
    flat = images.flatten(start_dim=1)
    mean = flat.mean(dim=1)
    # Four times as fast as `std`, which goes through the numbers one after the other.
    contrast = (flat - mean[:, None]).square_().mean(dim=1).sqrt()
    found = {"brightness": mean, "contrast": contrast}
    across = images.diff(dim=3).abs().flatten(start_dim=1)
    if across.shape[1]:
        found["roughness"] = across.mean(dim=1)
    return {name: values.numpy() for name, values in found.items()}
