"""What corruptions of images share: 8-bit steps, borders, filters, grey values and edges.

Edges, distances and histograms are as OpenCV defines them.
"""

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


_LUMA = (0.299, 0.587, 0.114)


def luma(images: torch.Tensor) -> torch.Tensor:
    """Returns the grey value, (N, 1, H, W), by the weights of ITU-R BT.601."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)
    return torch.einsum("nchw,c->nhw", images, weights)[:, None]


def colour_of(colour: tuple[float, ...], images: torch.Tensor) -> torch.Tensor:
    """Returns a colour as (1, C, 1, 1), its grey value where images have one channel."""
    if images.shape[1] == 1:
        colour = (sum(part * weight for part, weight in zip(colour, _LUMA, strict=True)),)
    return torch.tensor(colour, dtype=images.dtype, device=images.device).reshape(1, -1, 1, 1)


def coloured(images: torch.Tensor) -> torch.Tensor:
    """Returns images that have three channels.

    Raises:
        ValueError: if they have not.
    """
    if images.shape[1] != 3:
        raise ValueError(f"expected images of 3 channels, got {images.shape[1]}")
    return images


def mirrored(images: torch.Tensor, border: Border = "mirror") -> torch.Tensor:
    """Returns images with one pixel more on each side."""
    for axis in (-2, -1):
        side = images.shape[axis]
        places = border_index(side, np.arange(-1, side + 1), border)
        images = images.index_select(axis, torch.from_numpy(places).to(images.device))
    return images


def box_mean(images: torch.Tensor) -> torch.Tensor:
    """Returns the mean of each pixel's 3 x 3 neighbourhood, mirrored at the border."""
    return torch.nn.functional.avg_pool2d(mirrored(images), 3, stride=1)


def sobel(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the Sobel derivatives across and down of (N, 1, H, W), edge pixels repeated."""
    padded = mirrored(images, "nearest")
    smooth_down = padded[..., :-2, :] + 2.0 * padded[..., 1:-1, :] + padded[..., 2:, :]
    smooth_across = padded[..., :-2] + 2.0 * padded[..., 1:-1] + padded[..., 2:]
    across = smooth_down[..., 2:] - smooth_down[..., :-2]
    down = smooth_across[..., 2:, :] - smooth_across[..., :-2, :]
    return across, down


def canny(images: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Returns the edges of (N, 1, H, W), bool (Canny 1986), with |dx| + |dy| as gradient.

    A ridge above `low` counts where it is connected, over eight neighbours, to one above `high`.
    """
    across, down = sobel(images)
    strength = across.abs() + down.abs()
    padded = torch.nn.functional.pad(strength, (1, 1, 1, 1))
    rows, columns = images.shape[-2:]

    def beside(by_row: int, by_column: int) -> torch.Tensor:
        top, left = 1 + by_row, 1 + by_column
        return padded[..., top : top + rows, left : left + columns]

    flat = down.abs() < math.tan(math.pi / 8) * across.abs()
    steep = down.abs() > math.tan(3 * math.pi / 8) * across.abs()
    rising = (across < 0) != (down < 0)
    lengthwise = (strength > beside(0, -1)) & (strength >= beside(0, 1))
    upright = (strength > beside(-1, 0)) & (strength >= beside(1, 0))
    falling_ridge = (strength > beside(-1, -1)) & (strength > beside(1, 1))
    rising_ridge = (strength > beside(-1, 1)) & (strength > beside(1, -1))
    ridge = torch.where(rising, rising_ridge, falling_ridge)
    ridge = torch.where(flat, lengthwise, torch.where(steep, upright, ridge))
    weak = ridge & (strength > low)
    edges = weak & (strength > high)
    while True:
        near = torch.nn.functional.max_pool2d(edges.to(images.dtype), 3, stride=1, padding=1) > 0
        grown = near & weak
        if torch.equal(grown, edges):
            return edges
        edges = grown


def distance_to(marked: torch.Tensor, most: int) -> torch.Tensor:
    """Returns each pixel's Euclidean distance to the nearest marked one, at most `most`.

    Args:
        marked: bool, (N, 1, H, W).
        most: pixels.
    """
    rows, columns = marked.shape[-2:]
    beyond = float(most * most)
    squares = torch.where(marked, 0.0, beyond)
    padded = torch.nn.functional.pad(squares, (most, most, 0, 0), value=beyond)
    along = squares.clone()
    for step in range(1, most + 1):
        for left in (most - step, most + step):
            torch.minimum(along, padded[..., left : left + columns] + float(step**2), out=along)
    padded = torch.nn.functional.pad(along, (0, 0, most, most), value=beyond)
    found = along.clone()
    for step in range(1, most + 1):
        for top in (most - step, most + step):
            torch.minimum(found, padded[..., top : top + rows, :] + float(step**2), out=found)
    return found.clamp_(max=beyond).sqrt_()


def equalised(levels: torch.Tensor, bins: int) -> torch.Tensor:
    """Returns images of whole numbers below `bins` with their histogram spread over 0 to 255.

    The lowest level that occurs becomes 0; an image of one level stays as it is.
    """
    n = len(levels)
    index = levels.to(torch.int64).reshape(n, -1)
    counts = torch.zeros((n, bins), dtype=torch.int64, device=levels.device)
    counts.scatter_add_(1, index, torch.ones_like(index))
    total = index.shape[1]
    lowest = (counts > 0).to(torch.int64).argmax(dim=1, keepdim=True)
    of_lowest = counts.gather(1, lowest)
    above = (counts.cumsum(dim=1) - of_lowest).clamp(min=0)
    others = (total - of_lowest).clamp(min=1)
    table = (above.to(torch.float32) * (255.0 / others)).round_()
    table = torch.where(of_lowest == total, lowest.to(torch.float32), table)
    return table.gather(1, index).reshape(levels.shape).to(levels.dtype)
