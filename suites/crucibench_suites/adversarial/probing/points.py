"""Where probes look: random points of the ball, and steps along a direction, all in the box."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crucibench.contracts.attack import Norm
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.model import by_sample, unit


def noise(
    draws: Draws, ids: Sequence[str], x: torch.Tensor, *, eps: torch.Tensor, norm: Norm, step: str
) -> torch.Tensor:
    """Returns a random corner of each Linf ball, or a random point on each L2 sphere."""
    shape = x.shape[1:]
    if norm == "linf":
        drawn = torch.from_numpy(draws.uniform(ids, step, shape)).to(x.device)
        direction = torch.where(drawn < 0.5, -1.0, 1.0)
    else:
        direction = unit(torch.from_numpy(draws.normal(ids, step, shape)).to(x.device), "l2")
    return (x + direction * by_sample(eps)).clamp(0, 1)


def along(x: torch.Tensor, gradient: torch.Tensor, size: torch.Tensor, norm: Norm) -> torch.Tensor:
    """Returns the point to which a step of length `size` (m,) in the norm goes."""
    finite = torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
    direction = finite.sign() if norm == "linf" else unit(finite, "l2")
    return (x + direction * by_sample(size)).clamp(0, 1)
