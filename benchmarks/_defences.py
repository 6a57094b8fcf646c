"""Defences that mislead gradients, each with what an attacker who knows it would go through.

A defence is a module whose answers count, and a *way through*: a differentiable stand-in that its
author would write for an adaptive attack. `BUILDING` were looked at while the second opinion was
built, `LOOKED_AT` were held out at first and have had changes made for them since; `HELD_OUT` were
written when nothing was changed any more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.append(str(Path(__file__).parent.parent / "tests" / "suites" / "adversarial"))
from defences import DEFENCES, Wrapped, straight_through
from small_models import digits


@dataclass(frozen=True)
class Defence:
    """A defended model.

    Attributes:
        family: what kind of defence it is.
        model: what answers.
        way: what an adaptive attack takes gradients of: images to logits.
    """

    family: str
    model: nn.Module
    way: Callable[[torch.Tensor], torch.Tensor]


Make = Callable[[list[nn.Module]], Defence]
"""From networks that know the task, the first of which is defended."""


def _planted(name: str, family: str, way: Any = None) -> Make:
    def make(nets: list[nn.Module]) -> Defence:
        images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.3
        return Defence(family, DEFENCES[name](nets[0], images), way or nets[0])

    return make


class OneMembersBackward(nn.Module):
    """The mean of several networks, whose gradient is that of the first."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers = [net(x) for net in self.nets]
        return straight_through(answers[0], torch.stack(answers).mean(0))


def _mean(nets: list[nn.Module]) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: torch.stack([net(x) for net in nets]).mean(0)


class Flipped(nn.Module):
    """Turns the gradient round where the first class leads by little."""

    def __init__(self, net: nn.Module, margin: float) -> None:
        super().__init__()
        self.net, self.margin = net, margin

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(x)
        best = logits.topk(2, dim=1).values
        near = (best[:, :1] - best[:, 1:] < self.margin).to(logits)
        turned = 2 * logits.detach() - logits
        return near * turned + (1 - near) * logits


class Split(nn.Module):
    """A network cut in two, with something between: features and the last layer."""

    def __init__(self, net: nn.Module, between: Any) -> None:
        super().__init__()
        parts = list(net.children())
        self.features, self.head = nn.Sequential(*parts[:-1]), parts[-1]
        self.between = between

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.between(self.features(x)))
        return logits


def _half_hidden(features: torch.Tensor) -> torch.Tensor:
    half = features.shape[1] // 2
    return torch.cat([features[:, :half], features[:, half:].detach()], 1)


def _eight_bits(features: torch.Tensor) -> torch.Tensor:
    step = 0.3
    return straight_through(features, (features / step).round() * step)


def _kept(features: torch.Tensor) -> torch.Tensor:
    least = features.topk(features.shape[1] // 4, dim=1).values[:, -1:]
    return torch.where(features >= least, features, torch.zeros_like(features))


def _split(family: str, between: Any, way: Any = None) -> Make:
    def make(nets: list[nn.Module]) -> Defence:
        model = Split(nets[0], between)
        return Defence(family, model, Split(nets[0], way) if way else nets[0])

    return make


BUILDING: dict[str, Make] = {
    "ensemble, one member's backward": lambda nets: Defence(
        "other backward", OneMembersBackward(nets), _mean(nets)
    ),
    "sign turned, margin < 3": lambda nets: Defence("turned", Flipped(nets[0], 3.0), nets[0]),
    "sign turned, margin < 1": lambda nets: Defence("turned", Flipped(nets[0], 1.0), nets[0]),
    "activations of 4 bits, straight through": _split("quantised inside", _eight_bits, _eight_bits),
    "half of the features hidden": _split("cut inside", _half_hidden),
    "winners take all, a quarter": _split("discontinuous", _kept, _kept),
    "input of 16 levels": _planted("quantised-input", "quantised input"),
    "input of 16 levels, straight through": _planted(
        "quantised-straight-through", "quantised input"
    ),
    "cut at the input": _planted("dead-gradient", "cut"),
    "gradient in another order": _planted("wrong-gradient", "other backward"),
    "gradient not a number": _planted("not-a-number", "not finite"),
    "saturated": _planted("saturation", "saturated"),
    "shattered": _planted("shattered-gradient", "shattered"),
    "noise": _planted("noise-layer", "random"),
    "vote": _planted("vote-over-augmentations", "step function"),
}


class Unwatched(nn.Module):
    """Answers without a graph, tied to the input by nothing."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = self.net(x)
        return logits + 0 * x.flatten(1).sum(1, keepdim=True)


class _Thermometer(nn.Module):
    """Codes each pixel by the thresholds that it exceeds, and reads the code."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = torch.arange(16, device=x.device) / 16 + 1 / 32
        return (x[..., None] > steps).to(x).mean(-1)


class _Cosines(nn.Module):
    """Rounds the coefficients of a cosine transform, as JPEG does."""

    def __init__(self, step: float) -> None:
        super().__init__()
        k, n = torch.arange(8.0)[:, None], torch.arange(8.0)[None]
        basis = torch.cos(torch.pi * (n + 0.5) * k / 8) * (2 / 8) ** 0.5
        basis[0] /= 2**0.5
        self.register_buffer("basis", basis)
        self.step = step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.basis @ x @ self.basis.T
        rounded = (found / self.step).round() * self.step
        image: torch.Tensor = self.basis.T @ rounded @ self.basis
        return image


class _Median(nn.Module):
    """The median of five pixels, without a gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _five(x).median(0).values.detach() + 0 * x


def _five(x: torch.Tensor) -> torch.Tensor:
    moved = [x.roll(step, dim) for dim in (2, 3) for step in (-1, 1)]
    return torch.stack([x, *moved])


class _Signs(nn.Module):
    """The sign of each feature above a half."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.sign(features - 0.3)


class _Noisy(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient + 3 * gradient.std() * torch.randn_like(gradient)


class _Faint(nn.Module):
    """Loses its gradient where it is not sure."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(x)
        best = logits.topk(2, dim=1).values
        near = best[:, :1] - best[:, 1:] < 2
        return torch.where(near, logits.detach() + 1e-30 * logits, logits)


class _Dropped(nn.Module):
    """Leaves out a tenth of the pixels at random."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(x * (torch.rand_like(x) > 0.1))
        return logits


def _coded(features: torch.Tensor) -> torch.Tensor:
    """Replaces each four features by the nearest of 64 codes."""
    drawn = torch.Generator().manual_seed(2)
    codes = (torch.randn(64, 4, generator=drawn) + 0.5).clamp(min=0)
    parts = features.unflatten(1, (-1, 4))
    nearest = (parts[:, :, None] - codes).square().sum(3).argmin(2)
    return codes[nearest].flatten(1)


def _smoother(x: torch.Tensor, steps: int = 20) -> torch.Tensor:
    """Draws pixels towards their neighbours, and back towards the image, some times."""
    found = x
    for _ in range(steps):
        found = found + 0.1 * ((_five(found).mean(0) - found) + 2 * (x - found))
    return found


def _purified(x: torch.Tensor) -> torch.Tensor:
    """Looks for a smoother image near by, and keeps no graph of the search."""
    with torch.no_grad():
        return _smoother(x)


class _Any(nn.Module):
    """Answers by one of several networks, drawn for each image."""

    def __init__(self, nets: list[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers = torch.stack([net(x) for net in self.nets])
        return answers[torch.randint(len(answers), (len(x),)), torch.arange(len(x))]


class _Chequered(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        places = torch.arange(gradient.shape[-1])
        return gradient * (1 - 2 * ((places[:, None] + places) % 2))


class _Second(nn.Module):
    """Answers by a second network where the first is unsure."""

    def __init__(self, net: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.net, self.other = net, other

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.net(x)
        best = logits.detach().topk(2, dim=1).values
        return torch.where(best[:, :1] - best[:, 1:] < 3, self.other(x), logits)


def _before(family: str, part: nn.Module, way: Any = None) -> Make:
    def make(nets: list[nn.Module]) -> Defence:
        through = way(nets[0]) if way else nets[0]
        return Defence(family, nn.Sequential(part, nets[0]), through)

    return make


LOOKED_AT: dict[str, Make] = {
    "no graph": lambda nets: Defence("cut", Unwatched(nets[0]), nets[0]),
    "thermometer code": _before("quantised input", _Thermometer()),
    "cosine transform, rounded": _before("transformed input", _Cosines(0.4)),
    "median filter": _before(
        "transformed input", _Median(), lambda net: lambda x: net(_five(x).median(0).values)
    ),
    "signs of features": _split("quantised inside", _Signs(), lambda f: torch.tanh(4 * (f - 0.3))),
    "logits in steps of 4": lambda nets: Defence(
        "quantised answer", Wrapped(nets[0], after=lambda z: (z / 4).round() * 4), nets[0]
    ),
    "another network's backward": lambda nets: Defence(
        "other backward", _Borrowed(nets[0], nets[1]), nets[0]
    ),
    "noise in the backward": lambda nets: Defence(
        "other backward", Wrapped(nets[0], _Noisy.apply), nets[0]
    ),
    "faint near the boundary": lambda nets: Defence("vanishing", _Faint(nets[0]), nets[0]),
    "pixels left out": lambda nets: Defence("random", _Dropped(nets[0]), nets[0]),
    "softmax, rounded to 3 digits": lambda nets: Defence(
        "quantised answer",
        Wrapped(nets[0], after=lambda z: (z.softmax(1) * 1e3).round() / 1e3),
        nets[0],
    ),
    "shifted and brightened at random": _planted("random-augmentation", "random"),
    "features of a code book": _split("coded inside", _coded, lambda f: f),
    "purified by 20 steps": lambda nets: Defence(
        "purified", Wrapped(nets[0], _purified), lambda x: nets[0](_smoother(x))
    ),
    "one of five networks, at random": lambda nets: Defence("random", _Any(nets), _mean(nets)),
    "answers squashed": lambda nets: Defence(
        "squashed", Wrapped(nets[0], after=lambda z: torch.erf(5 * z)), nets[0]
    ),
    "every second pixel turned": lambda nets: Defence(
        "turned", Wrapped(nets[0], _Chequered.apply), nets[0]
    ),
    "another network where unsure": lambda nets: Defence(
        "switched", _Second(nets[0], nets[1]), _mean(nets[:2])
    ),
}


class _Borrowed(nn.Module):
    """Answers by one network, with the gradient of another."""

    def __init__(self, net: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.net, self.other = net, other

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(self.other(x), self.net(x))


class _Neighbours(nn.Module):
    """Counts the labels of the fifteen nearest of known images, by features."""

    def __init__(self, net: nn.Module, soft: bool = False) -> None:
        super().__init__()
        self.features, self.soft = nn.Sequential(*list(net.children())[:-1]), soft
        x, y, _, _ = digits()
        self.register_buffer("known", self.features(x).detach())
        self.register_buffer("labels", nn.functional.one_hot(torch.as_tensor(y), 10).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        apart = torch.cdist(self.features(x), self.known)
        if self.soft:
            return ((-2 * apart).softmax(1) @ self.labels + 1e-6).log()
        nearest = apart.topk(15, dim=1, largest=False).indices
        return self.labels[nearest].sum(1)


class _Routed(nn.Module):
    """Lets one of three networks answer, by the quarters' ink; only the choice has a gradient."""

    def __init__(self, nets: list[nn.Module], through: bool = False) -> None:
        super().__init__()
        self.nets, self.through = nn.ModuleList(nets[:3]), through

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ink = torch.stack([x[..., :4, :4], x[..., 4:, :4], x[..., 4:, 4:]]).flatten(2).mean(2)
        answers = torch.stack([net(x) for net in self.nets])
        chosen = answers[ink.argmax(0), torch.arange(len(x))]
        return chosen if self.through else chosen.detach() + 0.1 * ink.T.sum(1, keepdim=True)


def _low_rank(x: torch.Tensor) -> torch.Tensor:
    """Keeps three singular values of each image; its directions have no gradient."""
    basis = torch.linalg.svd(x.detach())[0][..., :3]
    kept: torch.Tensor = basis @ basis.transpose(2, 3) @ x
    return kept


class _Table(nn.Module):
    """Looks each feature up in a table of 24 values."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        edges = torch.linspace(0, 6, 24, device=features.device)
        return (edges**0.8)[torch.bucketize(features.detach(), edges).clamp(max=23)]


class _ShakyWeights(nn.Module):
    """Draws its weights anew for each batch, around those that were trained."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shaken = {
            name: weight + 0.3 * weight.detach().std() * torch.randn_like(weight)
            for name, weight in self.net.named_parameters()
        }
        logits: torch.Tensor = torch.func.functional_call(self.net, shaken, x)
        return logits


def _keyed(x: torch.Tensor) -> torch.Tensor:
    """Leaves out pixels that the image itself chooses, in a way that no neighbour shares."""
    key = (x.flatten(1).double() * torch.arange(1, 65)).sum(1).view(-1, 1, 1, 1)
    places = torch.arange(64.0, dtype=torch.float64).view(1, 1, 8, 8)
    return x * (torch.frac((key * 1e4 + places * 12.9898).sin().abs() * 43758.5453) > 0.08)


def _resized(x: torch.Tensor) -> torch.Tensor:
    smaller = nn.functional.interpolate(x, size=6, mode="bilinear", antialias=True)
    return nn.functional.interpolate(smaller, size=8, mode="bilinear")


class _Remembers(nn.Module):
    """Draws each image towards the nearest that is known."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("known", digits()[0])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            nearest = torch.cdist(x.flatten(1), self.known.flatten(1)).argmin(1)
            return 0.6 * x + 0.4 * self.known[nearest]


def _without_graph(function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    return torch.no_grad()(function)


HELD_OUT: dict[str, Make] = {
    "votes of the nearest neighbours": lambda nets: Defence(
        "nearest neighbours", _Neighbours(nets[0]), _Neighbours(nets[0], soft=True)
    ),
    "routed by the ink": lambda nets: Defence("routed", _Routed(nets), _Routed(nets, through=True)),
    "three singular values": lambda nets: Defence(
        "low rank", Wrapped(nets[0], _without_graph(_low_rank)), lambda x: nets[0](_low_rank(x))
    ),
    "features looked up in a table": _split(
        "looked up", _Table(), lambda f: f.clamp(min=1e-3, max=6) ** 0.8
    ),
    "weights drawn anew": lambda nets: Defence("random weights", _ShakyWeights(nets[0]), nets[0]),
    "steep contrast": lambda nets: Defence(
        "steep",
        Wrapped(nets[0], lambda x: torch.sigmoid(400 * (x - 0.5))),
        lambda x: nets[0](torch.sigmoid(12 * (x - 0.5))),
    ),
    "pixels left out by a key": lambda nets: Defence("keyed", Wrapped(nets[0], _keyed), nets[0]),
    "resized without a graph": lambda nets: Defence(
        "resized", Wrapped(nets[0], _without_graph(_resized)), lambda x: nets[0](_resized(x))
    ),
    "drawn towards what is known": _before("memory", _Remembers()),
}

HONEST: dict[str, Callable[[list[nn.Module]], nn.Module]] = {
    **{
        f"logits x {c:g}": lambda nets, c=c: Wrapped(nets[0], after=lambda z: c * z)
        for c in (1e-6, 1e-3, 1e3, 1e6)
    },
    "float16": lambda nets: Wrapped(nets[0], after=lambda z: z.half().float()),
    "logits of 8 bits, straight through": lambda nets: Wrapped(
        nets[0], after=lambda z: straight_through(z, (z * 4).round() / 4)
    ),
    "weights of 8 bits": lambda nets: _eight_bit_weights(nets[0]),
    "activations of 8 bits, straight through": lambda nets: Split(
        nets[0], lambda f: straight_through(f, (f * 32).round() / 32)
    ),
    "cosine head": lambda nets: Wrapped(
        nets[0], after=lambda z: 0.05 * nn.functional.normalize(z, dim=1)
    ),
    "dropout, idle": lambda nets: nn.Sequential(nets[0], nn.Dropout(0.5)).eval(),
    "rounded with a leak": lambda nets: Wrapped(
        nets[0],
        lambda x: x + (torch.round(x * 64) / 64 - x).detach() * 0.5,
    ),
}


def _eight_bit_weights(net: nn.Module) -> nn.Module:
    import copy

    other = copy.deepcopy(net)
    for weight in other.parameters():
        step = weight.abs().max() / 127
        weight.data = (weight.data / step).round() * step
    return other
