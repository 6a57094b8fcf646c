"""Edges, distances and histograms of grey images in batches, as OpenCV defines them."""

from __future__ import annotations

import math

import numpy as np
import torch

from crucibench_suites.shift.corruptions._filters import Border, border_index


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
