"""Bilinear sampling at moved places: affine maps and displacement fields."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

Outside = Literal["mirror", "reflect", "black"]


def affine_from_points(
    points: NDArray[np.float64], moved: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns the maps that bring each point to where it was moved, shape (N, 2, 3).

    Args:
        points: (3, 2), each x then y.
        moved: (N, 3, 2).
    """
    corners = np.concatenate([points, np.ones((3, 1))], axis=1)
    solved = np.linalg.solve(corners, moved)
    return np.ascontiguousarray(solved.transpose(0, 2, 1))


def warp_affine(
    images: torch.Tensor, maps: NDArray[np.float64], outside: Outside = "mirror"
) -> torch.Tensor:
    """Returns images, (N, C, H, W), under maps from old to new (x, y), shape (N, 2, 3)."""
    height, width = images.shape[-2:]
    linear = np.asarray(np.linalg.inv(maps[:, :, :2]), dtype=np.float64)
    offset = -np.einsum("nij,nj->ni", linear, maps[:, :, 2])
    rows = torch.arange(height, dtype=images.dtype, device=images.device)[None, :, None]
    columns = torch.arange(width, dtype=images.dtype, device=images.device)[None, None, :]
    from_x, from_y = (
        _linear(linear[:, axis], offset[:, axis], columns, rows, images) for axis in (0, 1)
    )
    return _sampled(images, from_x, from_y, outside)


def sample(images: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """Returns images with each pixel read from `field` away: across, then down, (N, 2, H, W).

    Beyond the border the image reflects, its edge pixels twice (scipy.ndimage's ``reflect``).
    """
    height, width = images.shape[-2:]
    rows = torch.arange(height, dtype=images.dtype, device=images.device)[None, :, None]
    columns = torch.arange(width, dtype=images.dtype, device=images.device)[None, None, :]
    return _sampled(images, columns + field[:, 0], rows + field[:, 1], "reflect")


def _linear(
    slopes: NDArray[np.float64],
    offset: NDArray[np.float64],
    columns: torch.Tensor,
    rows: torch.Tensor,
    images: torch.Tensor,
) -> torch.Tensor:
    by_x, by_y, by_one = (
        torch.tensor(part, dtype=images.dtype, device=images.device)[:, None, None]
        for part in (slopes[:, 0], slopes[:, 1], offset)
    )
    return by_x * columns + (by_y * rows + by_one)


def _sampled(
    images: torch.Tensor, x: torch.Tensor, y: torch.Tensor, outside: Outside
) -> torch.Tensor:
    height, width = images.shape[-2:]
    # "mirror" turns at the middles of the edge pixels, which are at -1 and 1 if corners align.
    aligned = outside == "mirror"
    across, down = (_scaled(place, side, aligned) for place, side in ((x, width), (y, height)))
    return torch.nn.functional.grid_sample(
        images,
        torch.stack([across, down], dim=-1),
        mode="bilinear",
        padding_mode={"mirror": "reflection", "reflect": "reflection", "black": "zeros"}[outside],
        align_corners=aligned,
    )


def _scaled(place: torch.Tensor, side: int, aligned: bool) -> torch.Tensor:
    if aligned:
        return place.mul(2.0 / max(side - 1, 1)).sub_(1.0)
    return place.mul(2.0 / side).add_(1.0 / side - 1.0)
