"""Geometric shifts: rotation, translation, scale and shear; what comes in from outside is black."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.corruption import CorruptionContext, Level
from crucibench_suites.shift.corruptions._filters import truncated
from crucibench_suites.shift.corruptions._warp import warp_affine

Floats = NDArray[np.float64]


def rotation(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Turns about the middle, either way; a level is the angle in degrees."""
    signs = _signs(context)
    for (degrees,) in levels:
        yield moved(images, rotated(np.deg2rad(degrees * signs)))


def translation(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Moves in a drawn direction; a level is how far, as a share of the sides."""
    angles = (
        2 * np.pi * context.draws.uniform(context.ids, "direction", (1,))[:, 0].astype(np.float64)
    )
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for (share,) in levels:
        yield moved(images, _same(len(images)), share * directions)


def scale(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Enlarges or shrinks about the middle; a level is the factor, or one over it."""
    signs = _signs(context)
    for (factor,) in levels:
        yield moved(images, _same(len(images)) * (factor**signs)[:, None, None])


def shear(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Shears across, either way; a level is the angle in degrees."""
    signs = _signs(context)
    for (degrees,) in levels:
        linear = _same(len(images))
        linear[:, 0, 1] = np.tan(np.deg2rad(degrees)) * signs
        yield moved(images, linear)


def geometric_worst(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Turns and moves to places of a grid; a level is degrees, and shares across and down."""
    for degrees, across, down in levels:
        turns = rotated(np.deg2rad(np.full(len(images), degrees)))
        yield moved(images, turns, np.full((len(images), 2), (across, down)))


def moved(images: torch.Tensor, linear: Floats, shift: Floats | None = None) -> torch.Tensor:
    """Returns images under linear maps about the middle, then moved, bilinear, black outside.

    Args:
        images: (N, C, H, W).
        linear: from old to new (x, y), shape (N, 2, 2).
        shift: across and down as shares of the sides, shape (N, 2).
    """
    height, width = images.shape[-2:]
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - linear @ middle
    if shift is not None:
        offset = offset + shift * np.array([width, height])
    maps = np.concatenate([linear, offset[:, :, None]], axis=2)
    return truncated(warp_affine(images, maps, "black"))


def rotated(radians: Floats) -> Floats:
    """Returns rotations, (N, 2, 2), counter-clockwise as the image is seen."""
    cosine, sine = np.cos(radians), np.sin(radians)
    return np.stack([np.stack([cosine, sine], 1), np.stack([-sine, cosine], 1)], axis=1)


def _same(count: int) -> Floats:
    return np.tile(np.eye(2), (count, 1, 1))


def _signs(context: CorruptionContext) -> Floats:
    """Returns 1 or -1 for each sample, (N,)."""
    drawn = context.draws.integers(context.ids, "direction", (1,), high=2)[:, 0]
    return np.asarray(2.0 * drawn - 1.0)
