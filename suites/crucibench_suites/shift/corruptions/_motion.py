"""Motion blur along a line, as ImageMagick samples it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.corruption import Level

_SMALL = 64 * 64
"""Pixels up to which all images of a batch are moved by one gather a tap."""


def line_weights(radius: float, sigma: float) -> NDArray[np.float64]:
    """Returns the weights of 2 ceil(radius) + 1 taps: one half of a Gaussian, from its middle."""
    taps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(taps**2) / (2.0 * sigma**2))
    return np.asarray(weights / weights.sum())


def line_offsets(taps: int, degrees: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns how far down and across each tap lies, shape (taps, N, 2)."""
    along = np.arange(taps)[:, None]
    radians = np.deg2rad(degrees)[None, :]
    steps = [np.ceil(along * part(radians) - 0.5) for part in (np.sin, np.cos)]
    return np.stack(steps, axis=-1).astype(np.int64)


def line_blur(
    images: torch.Tensor, levels: Sequence[Level], degrees: NDArray[np.float64]
) -> Iterator[torch.Tensor]:
    """Yields images, (N, C, H, W), blurred along a line an image, for each radius and sigma.

    A pixel is the weighted sum of the pixels that lie 0, 1, 2, ... steps along the line from it,
    each to the nearest pixel; beyond the border stands the nearest edge pixel. Levels share the
    moved images.
    """
    weights = [line_weights(radius, sigma) for radius, sigma in levels]
    offsets = line_offsets(max(len(row) for row in weights), degrees)
    sums = [images * float(row[0]) for row in weights]
    # Pixels are never needed from further than one image away: all of these are edge pixels.
    height, width = images.shape[-2:]
    offsets[..., 0] = np.clip(offsets[..., 0], -height, height)
    offsets[..., 1] = np.clip(offsets[..., 1], -width, width)
    if height * width <= _SMALL or images.device.type != "cpu":
        _by_gather(images, weights, offsets, sums)
    else:
        _by_slices(images, weights, offsets, sums)
    yield from sums


def _by_gather(
    images: torch.Tensor,
    weights: list[NDArray[np.float64]],
    offsets: NDArray[np.int64],
    sums: list[torch.Tensor],
) -> None:
    height, width = images.shape[-2:]
    flat = images.flatten(2)
    steps = torch.from_numpy(offsets).to(images.device)
    rows = torch.arange(height, device=images.device)[None, :, None]
    columns = torch.arange(width, device=images.device)[None, None, :]
    for tap in range(1, len(offsets)):
        down, across = steps[tap, :, 0, None, None], steps[tap, :, 1, None, None]
        places = (rows + down).clamp(0, height - 1) * width + (columns + across).clamp(0, width - 1)
        moved = flat.gather(2, places.reshape(len(flat), 1, -1).expand(flat.shape))
        for total, row in zip(sums, weights, strict=True):
            if tap < len(row):
                total.add_(moved.reshape(images.shape), alpha=float(row[tap]))


def _by_slices(
    images: torch.Tensor,
    weights: list[NDArray[np.float64]],
    offsets: NDArray[np.int64],
    sums: list[torch.Tensor],
) -> None:
    height, width = images.shape[-2:]
    for place, image in enumerate(images):
        steps = offsets[:, place]
        low, high = steps.min(axis=0).clip(max=0), steps.max(axis=0).clip(min=0)
        border = (int(-low[1]), int(high[1]), int(-low[0]), int(high[0]))
        padded = torch.nn.functional.pad(image[None], border, mode="replicate")[0]
        for tap in range(1, len(offsets)):
            top, left = (steps[tap] - low).tolist()
            moved = padded[:, top : top + height, left : left + width]
            for total, row in zip(sums, weights, strict=True):
                if tap < len(row):
                    total[place].add_(moved, alpha=float(row[tap]))
