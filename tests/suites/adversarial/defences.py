"""Planted defences: each makes a model look more robust than it is, or its answers worth less."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import softmax


class Wrapped(nn.Module):
    """A model with something done before or after it."""

    def __init__(self, model: nn.Module, before: Any = None, after: Any = None) -> None:
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x if self.before is None else self.before(x))
        return logits if self.after is None else self.after(logits)


def straight_through(x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Returns `values`, with the gradient of the identity."""
    return x + (values - x).detach()


class GivesUp(nn.Module):
    """Answers alike, whatever it is asked, where neighbouring pixels differ too much."""

    def __init__(self, model: nn.Module, most: torch.Tensor) -> None:
        super().__init__()
        self.model, self.most = model, most

    @staticmethod
    def roughness(x: torch.Tensor) -> torch.Tensor:
        pad = nn.functional.avg_pool2d(x, 3, 1, 1)
        return (x - pad).abs().flatten(1).mean(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        odd = (self.roughness(x) > self.most)[:, None]
        return torch.where(odd, torch.zeros_like(logits), logits)


class RandomAugmentation(nn.Module):
    """The mean over a few inputs, each shifted and made brighter at random."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers = []
        for _ in range(4):
            shift = int(torch.randint(-1, 2, ()).item())
            seen = torch.roll(x, shift, dims=3) * (0.8 + 0.4 * torch.rand(()))
            answers.append(self.model(seen))
        return torch.stack(answers).mean(0)


class Vote(nn.Module):
    """Counts the labels of shifted and mirrored inputs: a step function, without a gradient."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain = self.model(x)
        votes = torch.zeros_like(plain)
        for scale in (0.9, 1.0, 1.1):
            label = self.model((x * scale).clamp(0, 1)).argmax(1)
            votes = votes + nn.functional.one_hot(label, plain.shape[1])
        return votes + 0.0 * plain


class Abstains(nn.Module):
    """Gives all classes one score where the first does not lead by 2."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(x)
        best = logits.topk(2, dim=1).values
        return torch.where(best[:, :1] - best[:, 1:] > 2, logits, torch.zeros_like(logits))


class Purifies(nn.Module):
    """Goes along a gradient of its own before it answers."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            seen = x.detach().requires_grad_()
            sure = self.model(seen).logsumexp(1).sum()
            (gradient,) = torch.autograd.grad(sure, seen)
        logits: torch.Tensor = self.model(x + 0.05 * gradient.sign())
        return logits


class _Wrong(torch.autograd.Function):
    """The identity, whose gradient comes back in another order."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        flat = gradient.flatten(1)
        turned = flat[:, torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(0))]
        return turned.view_as(gradient)


class _NoNumber(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.nan


def _rounded(levels: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def before(x: torch.Tensor) -> torch.Tensor:
        return torch.round(x * levels) / levels

    return before


def _through(levels: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def before(x: torch.Tensor) -> torch.Tensor:
        return straight_through(x, torch.round(x * levels) / levels)

    return before


DEFENCES: dict[str, Callable[[nn.Module, torch.Tensor], nn.Module]] = {
    "temperature-1e4": lambda model, x: Wrapped(model, after=lambda z: 1e4 * z),
    "saturation": lambda model, x: Wrapped(model, after=lambda z: 60 * torch.tanh(10 * z)),
    "quantised-input": lambda model, x: Wrapped(model, _rounded(16)),
    "quantised-straight-through": lambda model, x: Wrapped(model, _through(16)),
    "noise-layer": lambda model, x: Wrapped(model, lambda x: x + 0.1 * torch.randn_like(x)),
    "shattered-gradient": lambda model, x: Wrapped(
        model, lambda x: x + 0.02 * torch.sin(997.0 * x)
    ),
    "dead-gradient": lambda model, x: Wrapped(model, lambda x: x.detach() + 0 * x),
    "gives-up": lambda model, x: GivesUp(model, 1.02 * GivesUp.roughness(x).max()),
    "random-augmentation": lambda model, x: RandomAugmentation(model),
    "vote-over-augmentations": lambda model, x: Vote(model),
    "softmax": lambda model, x: Wrapped(model, after=lambda z: softmax(z, dim=1)),
    "abstains": lambda model, x: Abstains(model),
    "purifies": lambda model, x: Purifies(model),
    "wrong-gradient": lambda model, x: Wrapped(model, _Wrong.apply),
    "not-a-number": lambda model, x: Wrapped(model, _NoNumber.apply),
    "vanishing-gradient": lambda model, x: Wrapped(model, lambda x: straight_through(1e-9 * x, x)),
}
"""By name: from a model, and the images that it is to be right about, to the defended one."""
