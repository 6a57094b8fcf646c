"""A model as probes ask it: passes are counted for each sample, gradients come as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True)
class Slope:
    """A loss and its gradient.

    Attributes:
        logits: shape (m, K).
        loss: float64, shape (m,).
        gradient: shape (m, C, H, W), not finite where the model's is not; 0 without a graph.
    """

    logits: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor


class Asker:
    """Asks a module about samples of a batch, by their rows in it."""

    def __init__(self, module: torch.nn.Module, samples: int) -> None:
        self.module = module
        self.forwards: NDArray[np.int64] = np.zeros(samples, dtype=np.int64)
        self.backwards: NDArray[np.int64] = np.zeros(samples, dtype=np.int64)

    def logits(self, x: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
        """Returns logits (m, K), without a graph."""
        self.forwards[rows] += 1
        with torch.no_grad():
            answer: torch.Tensor = self.module(x)
        return answer

    def slope(
        self,
        x: torch.Tensor,
        rows: NDArray[np.int64],
        loss: Callable[[torch.Tensor], torch.Tensor],
    ) -> Slope:
        """Returns the loss of logits at `x`, and its gradient."""
        self.forwards[rows] += 1
        self.backwards[rows] += 1
        asked = x.detach().requires_grad_()
        with torch.enable_grad():
            logits: torch.Tensor = self.module(asked)
            losses = loss(logits.double())
            gradient = torch.zeros_like(x)
            if losses.requires_grad:
                # None where the answer does not hang on the input, which torch's types leave out.
                found: torch.Tensor | None
                (found,) = torch.autograd.grad(losses.sum(), asked, allow_unused=True)
                if found is not None:
                    gradient = found
        return Slope(logits.detach(), losses.detach(), gradient)
