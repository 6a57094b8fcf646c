"""Weather: snow, frost, fog, brightness and spatter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from crucibench.contracts.corruption import CorruptionContext, Level
from crucibench_suites.shift.corruptions._filters import (
    box_mean,
    canny,
    clipped_zoom,
    colour_of,
    distance_to,
    equalised,
    gaussian,
    luma,
    mirrored,
    rounded,
    truncated,
    zoom_sizes,
)
from crucibench_suites.shift.corruptions._frost import TEXTURES, texture
from crucibench_suites.shift.corruptions._motion import line_blur

_ROUGHNESS = 100.0

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)

_RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))
_FAR = 20


def snow(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Whitens the image and lays drawn flakes over it, blurred along their fall.

    A level is the flakes' mean and spread, their enlargement, the threshold that they must reach,
    radius and sigma of the blur, and the share of the image that isn't whitened.
    """
    draws = context.tensors(images.device)
    height, width = images.shape[-2:]
    noise = draws.normal("flakes", (1, height, width))
    angles = (
        90.0 * context.draws.uniform(context.ids, "angle", (1,))[:, 0].astype(np.float64) - 135.0
    )
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
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Adds a drawn cut of a drawn texture of frost.

    A level is the weight of the image, of the frost, and how many times the texture is shrunk. The
    published files are photographs; the textures here are the project's own, see `_frost`.
    """
    channels, height, width = images.shape[1:]
    picked = context.draws.integers(context.ids, "texture", (1,), high=TEXTURES)[:, 0]
    shrinks = {int(level[2]) for level in levels}
    layers = {}
    for shrink in shrinks:
        cuts = []
        for place, kind in zip(range(len(images)), picked, strict=True):
            whole = texture(int(kind), shrink)
            identity = context.ids[place : place + 1]
            top, left = (
                int(context.draws.integers(identity, f"cut-{side}", (1,), high=size)[0, 0])
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
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Adds a drawn plasma fractal and brings the sum back to the image's range.

    A level is the thickness and the decay of the fractal's roughness from scale to scale.
    """
    draws = context.tensors(images.device)
    height, width = images.shape[-2:]
    side = 1 << (max(height, width, 2) - 1).bit_length()
    words = draws.uniform("plasma", (side * side - 1,)).mul_(2.0).sub_(1.0)
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    maps: dict[float, torch.Tensor] = {}
    for thickness, decay in levels:
        if decay not in maps:
            maps[decay] = _plasma(words, side, decay)[:, None, :height, :width]
        # A black image would be divided by the thickness alone, and stay black.
        scale = brightest / (brightest + thickness)
        yield truncated(torch.add(images, maps[decay], alpha=thickness).mul_(scale))


def brightness(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
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


def _plasma(draws: torch.Tensor, side: int, decay: float) -> torch.Tensor:
    """Returns height maps scaled to [0, 1], shape (N, side, side).

    Points half a step apart are filled in from coarse to fine, each with the mean of its four
    neighbours (around the map's edges) and a draw whose amplitude is w**2, w falling from 100 by
    the factor `decay` a scale.

    Args:
        draws: uniform in [-1, 1), shape (N, side**2 - 1).
        side: a power of two.
        decay: at least 1.
    """
    heights = torch.zeros((len(draws), side, side), dtype=draws.dtype, device=draws.device)
    step, roughness, used = side, _ROUGHNESS, 0
    while step >= 2:
        half, points = step // 2, side // step
        jumps = draws[:, used : used + 3 * points * points].reshape(-1, 3, points, points)
        jumps = jumps * roughness**2
        used += 3 * points * points
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        middles = torch.add(jumps[:, 0], pairs + pairs.roll(-1, 2), alpha=0.25)
        heights[:, half::step, half::step] = middles
        above = middles + middles.roll(1, 1) + corners + corners.roll(-1, 2)
        heights[:, ::step, half::step] = torch.add(jumps[:, 1], above, alpha=0.25)
        beside = middles + middles.roll(1, 2) + corners + corners.roll(-1, 1)
        heights[:, half::step, ::step] = torch.add(jumps[:, 2], beside, alpha=0.25)
        step, roughness = half, roughness / decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights.div_(heights.amax(dim=(1, 2), keepdim=True))


def spatter(
    images: torch.Tensor, levels: Sequence[Level], context: CorruptionContext
) -> Iterator[torch.Tensor]:
    """Lays drops of water or spots of mud over the image.

    A level is the liquid's mean, spread, smoothness and threshold, its strength (of mud: the
    smoothness of its spots), and 0 for water or 1 for mud.
    """
    draws = context.tensors(images.device)
    noise = draws.normal("liquid", (1, *images.shape[2:]))
    for mean, spread, smoothness, threshold, strength, mud in levels:
        liquid = gaussian(noise.mul(spread).add_(mean), smoothness)
        liquid = torch.where(liquid < threshold, 0.0, liquid)
        if mud:
            spots = gaussian((liquid > threshold).to(images.dtype), strength)
            spots = torch.where(spots < 0.8, 0.0, spots)
            yield truncated(torch.lerp(images, colour_of(_MUD, images), spots))
        else:
            drops = _drops(liquid).mul_(strength)
            yield truncated(torch.addcmul(images, drops, colour_of(_WATER, images)))


def _drops(liquid: torch.Tensor) -> torch.Tensor:
    """Returns how much light drops catch, (N, 1, H, W), at most 1 in each image: a relief.

    Distances to the drops' edges are Euclidean here, where OpenCV's are within 2 % of that.
    """
    levels = liquid.mul(255.0).clamp_(0.0, 255.0).floor_()
    distance = distance_to(canny(levels, 50.0, 150.0), _FAR)
    height = equalised(box_mean(distance).floor_(), _FAR + 1)
    padded = mirrored(height)
    rows, columns = height.shape[-2:]
    relief = torch.zeros_like(height)
    for down, row in enumerate(_RELIEF):
        for across, weight in enumerate(row):
            part = padded[..., down : down + rows, across : across + columns]
            relief.add_(part, alpha=weight)
    relief = box_mean(relief.clamp_(0.0, 255.0)).round_().mul_(levels)
    most = relief.amax(dim=(1, 2, 3), keepdim=True)
    return relief / torch.where(most > 0, most, 1.0)
