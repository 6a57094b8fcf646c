"""What an attack would cost if it were nothing but its passes through the model."""

from __future__ import annotations

import time
from collections import Counter

import torch
from torch import nn

_MOST = 4
"""Passes of one kind that are timed; further ones of this kind are taken to last as long."""

Asked = Counter[tuple[int, bool]]
"""How often a model was asked about so many inputs at once, without and with a gradient."""


class Recorded(nn.Module):
    """A model that notes what it is asked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.asked: Asked = Counter()
        self.train(model.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked[len(x), x.requires_grad] += 1
        logits: torch.Tensor = self.model(x)
        return logits


def seconds(device: torch.device | str = "cpu") -> float:
    """Returns the processor's seconds so far; of a GPU, which works by itself, the clock's."""
    if torch.device(device).type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def bare(model: nn.Module, x: torch.Tensor, asked: Asked) -> float:
    """Returns the seconds of the same passes, in the same sizes, in a loop that does nothing else.

    Args:
        model: what was asked; its weights ask for no gradient meanwhile.
        x: any inputs of the right form, on the model's device, shape (n, C, H, W).
        asked: by `Recorded`.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in weights:
        weight.requires_grad_(False)
    total = 0.0
    for (size, gradient), times in sorted(asked.items()):
        inputs = x.repeat(-(-size // len(x)), 1, 1, 1)[:size]
        _pass(model, inputs, gradient=gradient)
        timed = min(times, _MOST)
        start = seconds(x.device)
        for _ in range(timed):
            _pass(model, inputs, gradient=gradient)
        total += (seconds(x.device) - start) * times / timed
    for weight in weights:
        weight.requires_grad_(True)
    return total


def _pass(model: nn.Module, x: torch.Tensor, *, gradient: bool) -> None:
    inputs = x.detach().requires_grad_(gradient)
    with torch.set_grad_enabled(gradient):
        logits = model(inputs)
        if gradient:
            torch.autograd.grad(logits.logsumexp(1).sum(), inputs)
