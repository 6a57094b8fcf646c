"""A model's answers as attacks without gradients see them."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability

Floats = NDArray[np.float64]

_MANY = 1024
_NUMBERS = 2**20
_TIE = 1e-9


def labels_of(adapter: Adapter, batch: Batch) -> NDArray[np.int64]:
    """Returns the class of each sample: of the largest score where there are scores, (n,)."""
    if Capability.SCORES in adapter.capabilities:
        scores = adapter.predict(batch, frozenset({"scores"})).scores
        assert scores is not None
        return np.asarray(scores.argmax(axis=1), dtype=np.int64)
    labels = adapter.predict(batch, frozenset({"labels"})).labels
    assert labels is not None
    return np.asarray(labels, dtype=np.int64)


def leads(adapter: Adapter, batch: Batch, targets: NDArray[np.int64], *, labels: bool) -> Floats:
    """Returns how far the best wrong class leads over the true one, (n,).

    Above 0 exactly where the model's class is another one: of equal scores it is the first.

    Args:
        adapter: the model.
        batch: what it is asked about.
        targets: the true classes, shape (n,).
        labels: whether labels alone are looked at: 1 where wrong, -1 where right.
    """
    if labels:
        return np.where(labels_of(adapter, batch) != targets, 1.0, -1.0)
    scores = adapter.predict(batch, frozenset({"scores"})).scores
    assert scores is not None
    scores = scores.astype(np.float64)
    rows = np.arange(len(scores))
    wrong = scores.argmax(axis=1) != targets
    own = scores[rows, targets]
    scores[rows, targets] = -np.inf
    lead = scores.max(axis=1) - own
    return np.asarray(np.where(wrong, np.maximum(lead, _TIE), np.minimum(lead, 0.0)))


def width(inputs: int) -> int:
    """Returns how many samples of so many numbers are asked about at once."""
    return max(1, min(_MANY, _NUMBERS // max(1, inputs)))


class ScoreModule(nn.Module):
    """Scores of images as a module's output: float64, without gradients.

    Of equal scores the first counts a trifle more, as it does for the model's class.
    """

    def __init__(self, adapter: Adapter) -> None:
        super().__init__()
        self._adapter = adapter
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns scores (m, K) of float32 images (m, C, H, W)."""
        found = []
        many = width(x[0].numel() if len(x) else 1)
        for at in range(0, len(x), many):
            part = x[at : at + many].detach().cpu()
            batch = Batch(("asked",) * len(part), part)
            scores = self._adapter.predict(batch, frozenset({"scores"})).scores
            assert scores is not None
            found.append(torch.from_numpy(scores.astype(np.float64)))
        answer = torch.cat(found)
        return answer - _TIE * torch.arange(answer.shape[1], dtype=torch.float64)
