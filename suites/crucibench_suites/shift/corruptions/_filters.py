"""Shared means of the kernels: the 8-bit step, borders, and filters as matrices."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Border = Literal["nearest", "reflect", "mirror"]
"""What stands beyond an edge, in scipy.ndimage's words: ``nearest`` (a a | a b c), ``reflect``
(b a | a b c) or ``mirror`` (c b | a b c)."""

_SLACK = 2.0**-10


def truncated(images: torch.Tensor) -> torch.Tensor:
    """Returns images clipped to [0, 1] and cut down to 8 bits, in place.

    The published generators end in ``np.uint8(255 * clip(x, 0, 1))``. A value less than a
    thousandth of a level below the next counts as that: rounding in float32 costs no level.
    """
    return images.clamp_(0.0, 1.0).mul_(255.0).add_(_SLACK).floor_().mul_(1 / 255)


def rounded(images: torch.Tensor) -> torch.Tensor:
    """Returns images clipped to [0, 1] and rounded to 8 bits, in place."""
    return images.clamp_(0.0, 1.0).mul_(255.0).round_().mul_(1 / 255)


def levels_of(images: torch.Tensor) -> torch.Tensor:
    """Returns images as the nearest of 256 levels, uint8."""
    return images.mul(255.0).round_().clamp_(0.0, 255.0).to(torch.uint8)


def border_index(size: int, positions: NDArray[np.int64], border: Border) -> NDArray[np.int64]:
    """Returns which of `size` pixels stands at each position, which may lie outside."""
    if border == "nearest" or size == 1:
        return np.clip(positions, 0, size - 1)
    period = {"reflect": 2 * size, "mirror": 2 * size - 2}[border]
    folded = np.mod(positions, period)
    last = {"reflect": period - 1, "mirror": period}[border]
    return np.asarray(np.minimum(folded, last - folded))


def gaussian_weights(sigma: float, truncate: float = 4.0) -> NDArray[np.float64]:
    """Returns the weights of scipy.ndimage.gaussian_filter1d, shape (2 radius + 1,)."""
    radius = int(truncate * sigma + 0.5)
    if sigma <= 1e-15 or radius == 0:
        return np.ones(1)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum())


@lru_cache(maxsize=128)
def gaussian_matrix(
    size: int, sigma: float, border: Border, truncate: float, device: torch.device
) -> torch.Tensor:
    """Returns a Gaussian filter along an axis of `size` pixels as a matrix, float32."""
    weights = gaussian_weights(sigma, truncate)
    radius = len(weights) // 2
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, weight in zip(range(-radius, radius + 1), weights, strict=True):
        np.add.at(matrix, (rows, border_index(size, rows + offset, border)), weight)
    return torch.tensor(matrix, dtype=torch.float32, device=device)


def gaussian(
    images: torch.Tensor, sigma: float, *, border: Border = "nearest", truncate: float = 4.0
) -> torch.Tensor:
    """Returns images, (..., H, W), blurred as skimage.filters.gaussian does.

    A product with a matrix an axis takes any sigma and any size, also images smaller than the
    filter, and is faster than sliding a window up to some 500 pixels.
    """
    if len(gaussian_weights(sigma, truncate)) == 1:
        return images.clone()
    height, width = images.shape[-2:]
    rows = gaussian_matrix(height, sigma, border, truncate, images.device)
    columns = gaussian_matrix(width, sigma, border, truncate, images.device)
    return torch.matmul(rows, torch.matmul(images, columns.T))


def clipped_zoom(images: torch.Tensor, crop: tuple[int, int], out: tuple[int, int]) -> torch.Tensor:
    """Returns the middle of images, enlarged to `out` and trimmed to their own size.

    Bilinear, edge pixels on edge pixels, as scipy.ndimage.zoom of order 1.
    """
    height, width = images.shape[-2:]
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    middle = images[..., top : top + crop[0], left : left + crop[1]]
    if out != crop:
        middle = torch.nn.functional.interpolate(
            middle, size=out, mode="bilinear", align_corners=True
        )
    top, left = (out[0] - height) // 2, (out[1] - width) // 2
    return middle[..., top : top + height, left : left + width]


def zoom_sizes(side: int, factor: float) -> tuple[int, int]:
    """Returns how many pixels of a side are enlarged by a factor, and to how many."""
    crop = math.ceil(side / factor)
    return crop, max(round(crop * factor), side)
