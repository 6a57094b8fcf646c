"""Momentum iterative fast gradient method (Dong et al. 2018), for Linf, L2 and L1.

Its steps add up gradients of one size, which makes examples that other models fall for, too: it
goes on to the last step, whether the model it follows is wrong by then or not.
"""

from __future__ import annotations

import torch

from crucibench_suites.adversarial.attacks import losses
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    Region,
    along,
    by_sample,
)

_DECAY = 1.0


def momentum(oracle: ModuleOracle, points: ImagePoints, *, steps: int) -> Found:
    """Finds where the last step leads, within the ball and [0, 1]: an example for other models."""
    region = Region(points)
    x, total = points.x.clone(), torch.zeros_like(points.x)
    size = points.eps / steps
    for _ in range(steps):
        _, _, gradient = oracle.gradient(x, lambda logits: losses.log_odds(logits, points.y))
        scale = by_sample(gradient.flatten(1).abs().mean(1)) + 1e-30
        total = _DECAY * total + gradient / scale
        x = region.inside(along(x, total, size, points.norm))
    found, everyone = Found(points), torch.arange(len(points), device=x.device)
    found.put(everyone, x)
    found.cost(everyone, forwards=steps, backwards=steps)
    return found
