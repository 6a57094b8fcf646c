"""A model whose abstention is a score of one of its classes, as attacks see it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench_suites.adversarial.abstaining import Abstention

_SMALLEST = 1e-38


class Folded(nn.Module):
    """Logits of which one is at least the logit of abstaining.

    A model abstains where no class has a probability of `least`: where all logits are below their
    logsumexp plus its logarithm. So that is the logit of abstaining; else it is that of a class.
    """

    def __init__(self, model: nn.Module, rule: Abstention, own: int) -> None:
        super().__init__()
        self.model, self._rule, self._own = model, rule, own
        self.train(model.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fold(self.model(x))

    def fold(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns logits (m, K) of which one takes in the abstention."""
        unsure, classes = self._rule.unsure, logits.shape[1]
        if unsure >= 0:
            silence = logits[:, unsure : unsure + 1]
        else:
            silence = logits.logsumexp(1, keepdim=True) + math.log(self._rule.least)
        others = (at for at in range(classes) if at not in {self._own, unsure})
        into = self._own if self._rule.safe else next(others, unsure)
        columns = torch.arange(classes, device=logits.device)
        folded = torch.where(columns == into, torch.maximum(logits, silence), logits)
        if unsure >= 0 and into != unsure:
            least = logits.amin(1, keepdim=True) - 1
            folded = torch.where(columns == unsure, least, folded)
        return folded


class FoldedAdapter(Adapter):
    """An adapter that answers with folded logits, about samples of one class."""

    def __init__(self, inner: Adapter, rule: Abstention, own: int) -> None:
        self._inner, self._rule, self._own = inner, rule, own
        self.input_spec, self.task, self.device = inner.input_spec, inner.task, inner.device
        kept = {Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT}
        self.capabilities = inner.capabilities & kept
        self.score_kind = "logits"

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: Request) -> Answer:
        scores = self._inner.predict(batch, frozenset({"scores"})).scores
        assert scores is not None
        if self._inner.score_kind != "logits":
            scores = np.log(np.maximum(scores, _SMALLEST))
        with torch.no_grad():
            folded = Folded(nn.Identity(), self._rule, self._own).fold(torch.from_numpy(scores))
        return Answer(scores=folded.numpy())

    def module(self) -> nn.Module:
        return Folded(self._inner.module(), self._rule, self._own)
