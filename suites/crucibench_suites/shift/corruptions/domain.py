"""Simple domain shifts: colour, frequency content, drawing, resolution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from crucibench.contracts.corruption import CorruptionContext, Level
from crucibench_suites.shift.corruptions._filters import (
    coloured,
    gaussian,
    luma,
    sobel,
    truncated,
)


def greyscale(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Takes colour away; a level is the share of it."""
    grey = luma(coloured(images))
    for (share,) in levels:
        yield truncated(torch.lerp(images, grey.expand_as(images), share))


def colour_jitter(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Changes brightness, contrast and saturation, then weighs channels; a level is the reach.

    Each factor is drawn from 1 - level to 1 + level; those of the channels from half of that.
    """
    drawn = 2.0 * context.draws.uniform(context.ids, "factors", (6,)) - 1.0
    factors = torch.from_numpy(drawn).to(coloured(images))
    for (reach,) in levels:
        brightness, contrast, saturation = (
            (1.0 + reach * factors[:, place]).reshape(-1, 1, 1, 1) for place in range(3)
        )
        changed = (images * brightness).clamp_(0.0, 1.0)
        middle = luma(changed).mean(dim=(2, 3), keepdim=True)
        changed = torch.lerp(middle.expand_as(changed), changed, contrast).clamp_(0.0, 1.0)
        changed = torch.lerp(luma(changed).expand_as(changed), changed, saturation)
        channels = (1.0 + 0.5 * reach * factors[:, 3:]).reshape(-1, 3, 1, 1)
        yield truncated(changed.clamp_(0.0, 1.0) * channels)


def saturate(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Changes the saturation of hue, saturation and value; a level is its factor and what is added.

    Hue and value stay. A grey pixel, whose hue is undefined, counts as red.
    """
    images = coloured(images)
    value, least = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    spread = value - least
    grey = spread == 0
    saturation = torch.where(grey, 0.0, spread / torch.where(value == 0, 1.0, value))
    # The share of the way from the highest to the lowest channel.
    fall = (value - images) / torch.where(grey, 1.0, spread)
    red = torch.tensor([0.0, 1.0, 1.0], dtype=images.dtype, device=images.device)
    fall = torch.where(grey, red.reshape(1, 3, 1, 1), fall)
    for factor, more in levels:
        changed = saturation.mul(factor).add_(more).clamp_(0.0, 1.0)
        yield truncated(value * (1.0 - changed * fall))


def low_pass(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Keeps low frequencies; a level is the cut-off, 1 being the highest that an image holds."""
    spectrum = torch.fft.rfft2(images)
    radius = _radius(images)
    for (cut,) in levels:
        yield truncated(torch.fft.irfft2(spectrum * (radius <= cut), s=images.shape[-2:]))


def high_pass(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Takes low frequencies away, but for the mean; a level is the cut-off as of `low_pass`.

    At least the lowest frequency is taken, whatever the size.
    """
    spectrum = torch.fft.rfft2(images)
    radius = _radius(images)
    lowest = 2.0 / max(images.shape[-2:])
    for (cut,) in levels:
        kept = (radius > max(cut, lowest)) | (radius == 0)
        yield truncated(torch.fft.irfft2(spectrum * kept, s=images.shape[-2:]))


def edge_sketch(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Draws edges in black on white; a level is the share of the drawing in the image."""
    across, down = sobel(gaussian(luma(images), 0.5))
    strength = torch.sqrt(across**2 + down**2)
    most = strength.amax(dim=(1, 2, 3), keepdim=True)
    drawing = 1.0 - strength / torch.where(most > 0, most, 1.0)
    for (share,) in levels:
        yield truncated(torch.lerp(images, drawing.expand_as(images), share))


def resolution(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Shrinks with antialiasing and enlarges again, bilinear; a level is the share of each side."""
    sides = images.shape[-2:]
    for (share,) in levels:
        small = [max(1, round(side * share)) for side in sides]
        shrunk = torch.nn.functional.interpolate(
            images, size=small, mode="bilinear", align_corners=False, antialias=True
        )
        yield truncated(
            torch.nn.functional.interpolate(
                shrunk, size=list(sides), mode="bilinear", align_corners=False
            )
        )


def _radius(images: torch.Tensor) -> torch.Tensor:
    """Returns the radial frequency of a half spectrum; 1 is Nyquist's along an axis."""
    height, width = images.shape[-2:]
    down = np.fft.fftfreq(height)[:, None]
    across = np.fft.rfftfreq(width)[None, :]
    return torch.from_numpy(2.0 * np.hypot(down, across)).to(images)
