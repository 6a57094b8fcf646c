"""Of the extra corruptions, those that fit no other file: spatter and saturate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from crucibench.util.tensor_draws import TensorDraws
from crucibench_suites.shift.corruptions._edges import (
    box_mean,
    canny,
    distance_to,
    equalised,
    mirrored,
)
from crucibench_suites.shift.corruptions._filters import gaussian, truncated
from crucibench_suites.shift.corruptions.catalogue import Level

_WATER = (175 / 255, 238 / 255, 238 / 255)
_MUD = (63 / 255, 42 / 255, 20 / 255)
_LUMA = (0.299, 0.587, 0.114)

_RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))
_FAR = 20


def spatter(
    images: torch.Tensor, levels: Sequence[Level], draws: TensorDraws
) -> Iterator[torch.Tensor]:
    """Lays drops of water or spots of mud over the image.

    A level is the liquid's mean, spread, smoothness and threshold, its strength (of mud: the
    smoothness of its spots), and 0 for water or 1 for mud.
    """
    noise = draws.normal("liquid", (1, *images.shape[2:]))
    for mean, spread, smoothness, threshold, strength, mud in levels:
        liquid = gaussian(noise.mul(spread).add_(mean), smoothness)
        liquid = torch.where(liquid < threshold, 0.0, liquid)
        if mud:
            spots = gaussian((liquid > threshold).to(images.dtype), strength)
            spots = torch.where(spots < 0.8, 0.0, spots)
            yield truncated(torch.lerp(images, _colour(_MUD, images), spots))
        else:
            drops = _drops(liquid).mul_(strength)
            yield truncated(torch.addcmul(images, drops, _colour(_WATER, images)))


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


def saturate(
    images: torch.Tensor, levels: Sequence[Level], draws: TensorDraws
) -> Iterator[torch.Tensor]:
    """Changes the saturation of hue, saturation and value; a level is its factor and what is added.

    Hue and value stay. A grey pixel, whose hue is undefined, counts as red.
    """
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


def _colour(colour: tuple[float, ...], images: torch.Tensor) -> torch.Tensor:
    """Returns a colour as (1, C, 1, 1), its grey value where images have one channel."""
    if images.shape[1] == 1:
        colour = (sum(part * weight for part, weight in zip(colour, _LUMA, strict=True)),)
    return torch.tensor(colour, dtype=images.dtype, device=images.device).reshape(1, -1, 1, 1)
