"""Weather: snow, frost, fog and brightness."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from crucibench.util.tensor_draws import TensorDraws
from crucibench_suites.shift.corruptions._filters import (
    clipped_zoom,
    rounded,
    truncated,
    zoom_sizes,
)
from crucibench_suites.shift.corruptions._frost import TEXTURES, texture
from crucibench_suites.shift.corruptions._motion import line_blur
from crucibench_suites.shift.corruptions._plasma import plasma
from crucibench_suites.shift.corruptions.catalogue import Level

_LUMA = (0.299, 0.587, 0.114)


def luma(images: torch.Tensor) -> torch.Tensor:
    """Returns the grey value, (N, 1, H, W), by the weights of ITU-R BT.601."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return torch.einsum("nchw,c->nhw", images, weights)[:, None]


def snow(
    images: torch.Tensor, levels: Sequence[Level], draws: TensorDraws
) -> Iterator[torch.Tensor]:
    """Whitens the image and lays drawn flakes over it, blurred along their fall.

    A level is the flakes' mean and spread, their enlargement, the threshold that they must reach,
    radius and sigma of the blur, and the share of the image that isn't whitened.
    """
    height, width = images.shape[-2:]
    noise = draws.normal("flakes", (1, height, width))
    angles = 90.0 * draws.host.uniform(draws.ids, "angle", (1,))[:, 0].astype(np.float64) - 135.0
    white = torch.maximum(images, luma(images).mul(1.5).add_(0.5))
    for mean, spread, zoom, threshold, radius, sigma, kept in levels:
        rows, columns = zoom_sizes(height, zoom), zoom_sizes(width, zoom)
        flakes = noise.mul(spread).add_(mean)
        flakes = clipped_zoom(flakes, (rows[0], columns[0]), (rows[1], columns[1]))
        flakes = truncated(torch.where(flakes < threshold, 0.0, flakes))
        (flakes,) = line_blur(flakes, [(radius, sigma)], angles)
        flakes = rounded(flakes)
        flakes = flakes + flakes.flip(-2, -1)
        yield truncated(torch.lerp(white, images, kept).add_(flakes))


def frost(
    images: torch.Tensor, levels: Sequence[Level], draws: TensorDraws
) -> Iterator[torch.Tensor]:
    """Adds a drawn cut of a drawn texture of frost.

    A level is the weight of the image, of the frost, and how many times the texture is shrunk. The
    published files are photographs; the textures here are the project's own, see `_frost`.
    """
    channels, height, width = images.shape[1:]
    picked = draws.host.integers(draws.ids, "texture", (1,), high=TEXTURES)[:, 0]
    shrinks = {int(level[2]) for level in levels}
    layers = {}
    for shrink in shrinks:
        cuts = []
        for place, kind in zip(range(len(images)), picked, strict=True):
            whole = texture(int(kind), shrink)
            identity = draws.ids[place : place + 1]
            top, left = (
                int(draws.host.integers(identity, f"cut-{side}", (1,), high=size)[0, 0])
                for side, size in zip(("down", "across"), whole.shape[:2], strict=True)
            )
            # Textures are periodic: a cut may be larger than the texture.
            rows = (top + np.arange(height)) % whole.shape[0]
            columns = (left + np.arange(width)) % whole.shape[1]
            cuts.append(whole[rows[:, None], columns])
        stacked = torch.from_numpy(np.stack(cuts)).permute(0, 3, 1, 2).to(images.device)
        layer = stacked.to(images.dtype).mul_(1 / 255)
        layers[shrink] = luma(layer) if channels == 1 else layer
    for image_weight, frost_weight, shrunk in levels:
        mixed = images.mul(image_weight)
        yield truncated(mixed.add_(layers[int(shrunk)], alpha=frost_weight))


def fog(
    images: torch.Tensor, levels: Sequence[Level], draws: TensorDraws
) -> Iterator[torch.Tensor]:
    """Adds a drawn plasma fractal and brings the sum back to the image's range.

    A level is the thickness and the decay of the fractal's roughness from scale to scale.
    """
    height, width = images.shape[-2:]
    side = 1 << (max(height, width, 2) - 1).bit_length()
    words = draws.uniform("plasma", (side * side - 1,)).mul_(2.0).sub_(1.0)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    maps: dict[float, torch.Tensor] = {}
    for thickness, decay in levels:
        if decay not in maps:
            maps[decay] = plasma(words, side, decay)[:, None, :height, :width]
        # A black image would be divided by the thickness alone, and stay black.
        scale = brightest / (brightest + thickness)
        yield truncated(torch.add(images, maps[decay], alpha=thickness).mul_(scale))


def brightness(
    images: torch.Tensor, levels: Sequence[Level], draws: TensorDraws
) -> Iterator[torch.Tensor]:
    """Raises the value of hue, saturation and value; a level is by how much.

    With hue and saturation held, all channels grow in proportion to the value, their maximum; a
    black pixel becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    black = value == 0
    divisor = torch.where(black, 1.0, value)
    for (more,) in levels:
        raised = value.add(more).clamp_(max=1.0)
        brighter = images * (raised / divisor)
        if images.shape[1] == 1 or bool(black.any()):
            brighter = torch.where(black, raised, brighter)
        yield truncated(brighter)
