"""Blur: defocus, glass, motion, zoom and gaussian."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from crucibench.contracts.corruption import CorruptionContext, Level
from crucibench_suites.shift.corruptions._filters import (
    border_index,
    clipped_zoom,
    gaussian,
    rounded,
    truncated,
    zoom_sizes,
)
from crucibench_suites.shift.corruptions._motion import line_blur


def gaussian_blur(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Blurs with a Gaussian; a level is its standard deviation in pixels."""
    for (sigma,) in levels:
        yield truncated(gaussian(images, sigma))


def defocus_blur(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Blurs with a disc; a level is its radius and the softness of its edge, in pixels.

    Borders mirror (OpenCV's ``BORDER_REFLECT_101``). All levels share the image's spectrum.
    """
    discs = [disc(radius, softness) for radius, softness in levels]
    reach = max(len(kernel) // 2 for kernel in discs)
    height, width = images.shape[-2:]
    rows, columns = (
        torch.from_numpy(border_index(side, np.arange(-reach, side + reach), "mirror")).to(
            images.device
        )
        for side in (height, width)
    )
    padded = images.index_select(-2, rows).index_select(-1, columns)
    sides = [_smooth_size(side) for side in padded.shape[-2:]]
    spectrum = torch.fft.rfft2(padded, s=sides)
    for kernel in discs:
        centred = np.zeros(sides)
        radius = len(kernel) // 2
        places = np.arange(-radius, radius + 1)
        # Points far outside fall on one another where the image is smaller than the disc.
        np.add.at(centred, np.ix_(places % sides[0], places % sides[1]), kernel)
        factor = torch.fft.rfft2(torch.tensor(centred, dtype=torch.float32)).to(images.device)
        blurred = torch.fft.irfft2(spectrum * factor, s=sides)
        inside = blurred[..., reach : reach + height, reach : reach + width]
        yield truncated(inside.contiguous())


@lru_cache(maxsize=32)
def disc(radius: float, softness: float) -> NDArray[np.float32]:
    """Returns a disc of weight 1 with its edge blurred by 3 or, above 8, 5 pixels.

    Its side is 17, or 2 radius + 1 above 8.
    """
    half = 8 if radius <= 8 else int(radius)
    places = np.arange(-half, half + 1)
    inside = places[:, None] ** 2 + places[None, :] ** 2 <= radius**2
    kernel = inside / inside.sum()
    taps = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    weights = np.exp(-(taps**2) / (2 * softness**2))
    weights /= weights.sum()
    around = [border_index(len(places), np.arange(len(places)) + tap, "mirror") for tap in taps]
    kernel = sum(weight * kernel[index] for weight, index in zip(weights, around, strict=True))
    kernel = sum(weight * kernel[:, index] for weight, index in zip(weights, around, strict=True))
    return np.asarray(kernel, dtype=np.float32)


def _smooth_size(least: int) -> int:
    """Returns the next size whose only factors are 2, 3 and 5: transforms of it are fast."""
    size = least
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1


def glass_blur(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Blurs, moves pixels about, blurs; a level is sigma, reach and number of sweeps.

    The published sweep goes through the pixels from the last to the first and gives each the
    colour of a neighbour that it draws, as that stands at the time: of a neighbour that had its
    turn before, the new colour. (It looks like an exchange, but the second half of it reads a view
    that the first half has changed already.) So each pixel ends as the pixel at the end of a chain
    of neighbours, and chains are followed all at once by doubling: exactly the published result
    for the same draws, in a logarithmic number of steps.
    """
    draws = context.tensors(images.device)
    height, width = images.shape[-2:]
    sweeps = max(int(level[2]) for level in levels)
    words = [draws.words(f"sweep-{sweep}", (height, width)) for sweep in range(sweeps)]
    for sigma, reach, count in levels:
        blurred = truncated(gaussian(images, sigma))
        source = None
        for sweep in range(int(count)):
            step = _sweep(words[sweep], int(reach))
            source = step if source is None else source.gather(1, step)
        flat = blurred.flatten(2)
        if source is not None:
            flat = flat.gather(2, source[:, None].expand(flat.shape))
        yield truncated(gaussian(flat.reshape(images.shape), sigma))


def _sweep(words: torch.Tensor, reach: int) -> torch.Tensor:
    """Returns which pixel of before each pixel shows after a sweep, shape (N, H W).

    Of a word, the upper 16 bits draw the step across, the lower the step down, both from
    [-reach, reach): a draw is off by less than 2 reach / 2**16.
    """
    n, height, width = words.shape
    across = (((words >> 16) * (2 * reach)) >> 16) - reach
    down = (((words & 0xFFFF) * (2 * reach)) >> 16) - reach
    pixels = torch.arange(height * width, device=words.device).reshape(height, width)
    target = pixels + down * width + across
    rows = torch.arange(height, device=words.device)[:, None]
    columns = torch.arange(width, device=words.device)[None, :]
    swept = (rows > reach) & (rows <= height - reach)
    swept = swept & (columns > reach) & (columns <= width - reach)
    target = torch.where(swept, target, pixels).reshape(n, -1)
    total = height * width
    # A place below `total` is a pixel after its turn; above, a pixel as it was before the sweep.
    later = swept.reshape(-1)[target] & (target > pixels.reshape(-1))
    chain = torch.where(later, target, target + total)
    while True:
        unfinished = chain < total
        if not bool(unfinished.any()):
            return chain - total
        chain = torch.where(unfinished, chain.gather(1, chain.clamp(max=total - 1)), chain)


def motion_blur(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Blurs along a drawn line of -45 to 45 degrees; a level is radius and sigma in pixels."""
    angles = (
        90.0 * context.draws.uniform(context.ids, "angle", (1,))[:, 0].astype(np.float64) - 45.0
    )
    for blurred in line_blur(images, levels, angles):
        yield rounded(blurred)


def zoom_blur(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Averages the image and enlargements of its middle; a level is end and step of the factors.

    Factors run from 1 as ``numpy.arange`` has them, so that 1 is there twice. An enlargement that
    several levels ask for is made once.
    """
    height, width = images.shape[-2:]
    ranges = [np.arange(1.0, end, step) for end, step in levels]
    asked = [
        [(zoom_sizes(height, factor), zoom_sizes(width, factor)) for factor in factors]
        for factors in ranges
    ]
    sums = [images.clone() for _ in levels]
    for sizes in dict.fromkeys(size for level in asked for size in level):
        (crop_height, out_height), (crop_width, out_width) = sizes
        zoomed = clipped_zoom(images, (crop_height, crop_width), (out_height, out_width))
        for total, level in zip(sums, asked, strict=True):
            times = level.count(sizes)
            if times:
                total.add_(zoomed, alpha=times)
    for total, factors in zip(sums, ranges, strict=True):
        yield truncated(total.div_(len(factors) + 1))
