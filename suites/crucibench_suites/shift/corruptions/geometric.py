"""Geometric shifts: rotation, translation, scale and shear; what comes in from outside is black.

Each is told by affine maps of places in the image, which move pixels and boxes alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.corruption import CorruptionContext, Function, Level, Maps
from crucibench_suites.shift.corruptions._filters import truncated
from crucibench_suites.shift.corruptions._warp import warp_affine

Floats = NDArray[np.float64]


def rotation_maps(
    sides: tuple[int, int], levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Floats]:
    """Turns about the middle, either way; a level is the angle in degrees."""
    signs = _signs(context)
    for (degrees,) in levels:
        yield _about_the_middle(sides, rotated(np.deg2rad(degrees * signs)))


def translation_maps(
    sides: tuple[int, int], levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Floats]:
    """Moves in a drawn direction; a level is how far, as a share of the sides."""
    angles = (
        2 * np.pi * context.draws.uniform(context.ids, "direction", (1,))[:, 0].astype(np.float64)
    )
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for (share,) in levels:
        yield _about_the_middle(sides, _same(len(context.ids)), share * directions)


def scale_maps(
    sides: tuple[int, int], levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Floats]:
    """Enlarges or shrinks about the middle; a level is the factor, or one over it."""
    signs = _signs(context)
    for (factor,) in levels:
        yield _about_the_middle(sides, _same(len(context.ids)) * (factor**signs)[:, None, None])


def shear_maps(
    sides: tuple[int, int], levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Floats]:
    """Shears across, either way; a level is the angle in degrees."""
    signs = _signs(context)
    for (degrees,) in levels:
        linear = _same(len(context.ids))
        linear[:, 0, 1] = np.tan(np.deg2rad(degrees)) * signs
        yield _about_the_middle(sides, linear)


def geometric_worst_maps(
    sides: tuple[int, int], levels: Sequence[Level], context: CorruptionContext
) -> Iterator[Floats]:
    """Turns and moves to places of a grid; a level is degrees, and shares across and down."""
    count = len(context.ids)
    for degrees, across, down in levels:
        turns = rotated(np.deg2rad(np.full(count, degrees)))
        yield _about_the_middle(sides, turns, np.full((count, 2), (across, down)))


def _images(maps: Maps) -> Function:
    """Returns the corruption that moves pixels, bilinearly, black outside."""

    def function(
        images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
    ) -> Iterator[torch.Tensor]:
        height, width = images.shape[-2:]
        for found in maps((height, width), levels, context):
            yield truncated(warp_affine(images, found, "black"))

    return function


rotation = _images(rotation_maps)
translation = _images(translation_maps)
scale = _images(scale_maps)
shear = _images(shear_maps)
geometric_worst = _images(geometric_worst_maps)


def _about_the_middle(
    sides: tuple[int, int], linear: Floats, shift: Floats | None = None
) -> Floats:
    """Returns linear maps about the middle, then a move, as maps of pixels, (N, 2, 3).

    Args:
        sides: height and width.
        linear: from old to new (x, y), shape (N, 2, 2).
        shift: across and down as shares of the sides, shape (N, 2).
    """
    height, width = sides
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = middle - linear @ middle
    if shift is not None:
        offset = offset + shift * np.array([width, height])
    return np.concatenate([linear, offset[:, :, None]], axis=2)


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
