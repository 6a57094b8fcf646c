"""The logits of "as it is" and of each label's flip, as a module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray


class FlipModule(torch.nn.Module):
    """Maps the canonical sample to logits (n, attacked + 1), see `..labels`."""

    def __init__(
        self, model: torch.nn.Module, present: NDArray[np.bool_], attacked: Sequence[int],
        offsets: NDArray[np.float64],
    ) -> None:  # fmt: skip
        """Takes a module of scores (n, K), and the labels of all that it will be asked about.

        Args:
            model: differentiable.
            present: which labels they have, (K,).
            attacked: places of the labels whose change counts.
            offsets: the score from which on each label is predicted, (K,).
        """
        super().__init__()
        self.model = model
        self.training = model.training
        self._columns = list(attacked)
        chosen = np.where(present, -1.0, 1.0)[self._columns]
        self._signs = torch.from_numpy(chosen).float()
        self._offsets = torch.from_numpy(offsets[self._columns]).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the logits, the first 0."""
        scores = self.model(x)[:, self._columns]
        lead = (scores - self._offsets.to(scores)) * self._signs.to(scores)
        return torch.cat([torch.zeros_like(lead[:, :1]), lead], dim=1)
