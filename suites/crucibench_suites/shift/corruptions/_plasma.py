"""The plasma fractal of fog: a height map by the diamond-square algorithm."""

from __future__ import annotations

import torch

_ROUGHNESS = 100.0


def plasma(draws: torch.Tensor, side: int, decay: float) -> torch.Tensor:
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
