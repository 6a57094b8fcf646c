"""Noise: gaussian, shot, impulse and speckle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch

from crucibench.contracts.corruption import CorruptionContext, Level
from crucibench_suites.shift.corruptions._filters import levels_of, truncated


def gaussian_noise(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Adds normal noise; a level is its standard deviation."""
    draws = context.tensors(images.device)
    noise = draws.normal("noise", images.shape[1:])
    for (scale,) in levels:
        yield truncated(torch.add(images, noise, alpha=scale))


def speckle_noise(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Adds normal noise in proportion to the pixel; a level is its standard deviation."""
    draws = context.tensors(images.device)
    noise = draws.normal("noise", images.shape[1:]).mul_(images)
    for (scale,) in levels:
        yield truncated(torch.add(images, noise, alpha=scale))


def impulse_noise(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Makes a share of the values 0 or 1; a level is that share.

    One word serves both draws: whether a value is hit by its size, which way by its last bit.
    """
    draws = context.tensors(images.device)
    words = draws.words("noise", images.shape[1:])
    salt = (words & 1).to(images.dtype)
    for (amount,) in levels:
        yield truncated(torch.where(words < round(amount * 2**32), salt, images))


def shot_noise(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Counts photons, Poisson by the pixel; a level is the mean count of a white pixel.

    Pixels count as the nearest of 256 levels, as the published input is. The counts invert the
    distribution function at one word a value: exact, and the same integers on every device.
    """
    draws = context.tensors(images.device)
    words = draws.words("noise", images.shape[1:])
    pixels = levels_of(images).to(torch.int64)
    places = pixels * _BINS + (words >> _BIN_SHIFT)
    for (rate,) in levels:
        table = _poisson_table(rate, str(images.device))
        counts = table.first.take(places)
        # In most bins one count holds throughout; the others are searched word by word.
        open_bins = table.mixed.take(places).nonzero(as_tuple=True)
        count = counts[open_bins].to(torch.int64)
        row = pixels[open_bins] * table.width
        word = words[open_bins]
        while True:
            more = word >= table.thresholds.take(row + count)
            if not bool(more.any()):
                break
            count += more
        counts[open_bins] = count.to(counts.dtype)
        yield truncated(counts.to(images.dtype).div_(rate))


_BIN_BITS = 10
_BINS = 1 << _BIN_BITS
_BIN_SHIFT = 32 - _BIN_BITS


class _PoissonTable:
    """The inverse distribution functions of 256 pixel values at one rate.

    Attributes:
        thresholds: the count is above k where the word is at least ``thresholds[pixel, k]``, int64.
        width: how many counts a row holds.
        first: by pixel and leading bits of the word, the lowest count, int16.
        mixed: whether other counts occur with these bits.
    """

    def __init__(self, rate: float, device: str) -> None:
        from scipy.special import pdtr
        from scipy.stats import poisson

        self.width = int(poisson.isf(2.0**-34, rate)) + 2
        means = np.arange(256)[:, None] * (rate / 255.0)
        share = pdtr(np.arange(self.width)[None, :], means)
        share[:, -1] = 1.0
        thresholds = np.rint(share * 2.0**32).astype(np.int64)
        edges = np.arange(_BINS + 1, dtype=np.int64) << _BIN_SHIFT
        first = np.stack([np.searchsorted(row, edges[:-1], side="right") for row in thresholds])
        last = np.stack([np.searchsorted(row, edges[1:] - 1, side="right") for row in thresholds])
        self.thresholds = torch.tensor(thresholds, device=device)
        self.first = torch.tensor(first.astype(np.int16), device=device)
        self.mixed = torch.tensor(first != last, device=device)


@lru_cache(maxsize=16)
def _poisson_table(rate: float, device: str) -> _PoissonTable:
    return _PoissonTable(rate, device)
