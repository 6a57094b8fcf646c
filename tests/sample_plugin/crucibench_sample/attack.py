"""An attack as a third party would write it: one class, one entry-point line."""

from __future__ import annotations

from typing import Any

import torch

from crucibench.contracts.attack import Ball, GradientAttack


class SignSteps(GradientAttack):
    """Ten steps of the gradient's sign, projected onto the ball and the box."""

    name = "sign-steps"
    norms = ("linf",)

    def run(self, given: Ball) -> Any:
        """Returns where the last step leads."""
        points, steps = given.points, 10
        eps = points.eps.view(-1, 1, 1, 1)
        low, high = (points.x - eps).clamp(min=0), (points.x + eps).clamp(max=1)

        def loss(logits: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(logits, points.y, reduction="none")

        x = points.x
        for _ in range(steps):
            _, _, gradient = given.oracle.gradient(x, loss)
            x = (x + 2 * eps / steps * gradient.sign()).clamp(low, high)
        return x
