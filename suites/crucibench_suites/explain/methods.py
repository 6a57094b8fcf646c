"""Attribution methods: what each number of an input adds to a class's score.

Each is a function of a `Question` and returns a tensor like its inputs. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

STEPS = 32
"""Places on the way from baseline to input at which integrated gradients looks."""

Scores = Callable[[torch.Tensor], torch.Tensor]
"""From inputs (N, ...) to scores (N, K)."""


@dataclass(frozen=True)
class Question:
    """What an attribution is asked of.

    Attributes:
        scores: the model, differentiable where the method needs gradients.
        inputs: shape (N, ...), as `scores` takes them.
        baselines: shape (N, ...): the inputs in which nothing is to be seen.
        targets: shape (N,), int64: the classes whose scores are attributed.
        parts: the part (image patch, column) of each number of a sample, int64, from 0.
    """

    scores: Scores
    inputs: torch.Tensor
    baselines: torch.Tensor
    targets: torch.Tensor
    parts: torch.Tensor

    def score(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the targets' scores minus the mean over classes, shape (N,).

        What is added to all scores changes no answer; of one logit for two classes, the first's
        score is always 0.
        """
        found = self.scores(inputs)
        return found.gather(1, self.targets[:, None])[:, 0] - found.mean(dim=1)

    def gradient(self, inputs: torch.Tensor) -> torch.Tensor:
        """Returns the gradients of the targets' scores, like `inputs`."""
        places = inputs.detach().clone().requires_grad_()
        with torch.enable_grad():
            (found,) = torch.autograd.grad(self.score(places).sum(), places)
        return found

    def pooled(self, attributions: torch.Tensor) -> torch.Tensor:
        """Returns the sum of each part, shape (N, P)."""
        flat = attributions.double().flatten(1)
        sums = torch.zeros(len(flat), int(self.parts.max()) + 1, dtype=flat.dtype,
                           device=flat.device)  # fmt: skip
        return sums.index_add(1, self.parts.flatten().to(flat.device), flat)


def gradient_x_input(question: Question) -> torch.Tensor:
    """Returns the gradient times the way from the baseline: exact for a linear model.

    Source:
        Shrikumar et al., 2016 (arXiv:1605.01713).
    """
    return question.gradient(question.inputs) * (question.inputs - question.baselines)


def integrated_gradients(question: Question) -> torch.Tensor:
    """Returns the mean gradient on the way from the baseline, by midpoints, times the way.

    Its sum is the difference of the scores at input and baseline, but for the step's error.

    Source:
        Sundararajan, Taly and Yan, ICML 2017.
    """
    way = question.inputs - question.baselines
    places = ((step + 0.5) / STEPS for step in range(STEPS))
    total = sum(question.gradient(question.baselines + place * way) for place in places)
    return way * total / STEPS


def occlusion(question: Question) -> torch.Tensor:
    """Returns what the score loses as each part becomes the baseline, spread over the part.

    Source:
        Zeiler and Fergus, ECCV 2014.
    """
    found = torch.zeros_like(question.inputs)
    with torch.no_grad():
        whole = question.score(question.inputs)
        for part in range(int(question.parts.max()) + 1):
            mask = (question.parts == part).to(question.inputs.device)
            lost = whole - question.score(
                torch.where(mask, question.baselines, question.inputs)
            )  # fmt: skip
            shape = (-1, *[1] * (found.ndim - 1))
            found += mask * (lost / mask.sum()).reshape(shape)
    return found


def grad_cam(question: Question) -> torch.Tensor:
    """Returns where the last convolution's maps speak for the target: their sum, each weighted by
    its mean gradient, cut off below 0, resized, and spread over a pixel's channels.

    It knows no baseline. All nan where the model has no two-dimensional convolution.

    Source:
        Selvaraju et al., ICCV 2017.
    """
    maps: list[torch.Tensor] = []
    layers = question.scores.modules() if isinstance(question.scores, torch.nn.Module) else ()
    hooks = [
        layer.register_forward_hook(lambda layer, given, made: maps.append(made))
        for layer in layers
        if isinstance(layer, torch.nn.Conv2d)
    ]
    try:
        with torch.enable_grad():
            score = question.score(question.inputs.detach().clone().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if not maps:
        return torch.full_like(question.inputs, torch.nan)
    # A convolution behind global pooling is a linear layer: it says nothing of places.
    last = next((one for one in reversed(maps) if one[0, 0].numel() > 1), maps[-1])
    (gradient,) = torch.autograd.grad(score.sum(), last)
    found = (gradient.mean(dim=(2, 3), keepdim=True) * last).sum(dim=1, keepdim=True).relu()
    size = question.inputs.shape[2:]
    found = torch.nn.functional.interpolate(found.detach(), size=size, mode="bilinear")
    return found.expand_as(question.inputs) / question.inputs.shape[1]


METHODS: dict[str, Callable[[Question], torch.Tensor]] = {
    "gradient-x-input": gradient_x_input,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
    "grad-cam": grad_cam,
}


def parts_of(shape: torch.Size, grid: int = 8) -> torch.Tensor:
    """Returns the part of each number of a sample: patches of a grid, or columns.

    Args:
        shape: of one sample: (C, H, W), or (D,).
        grid: patches along a side at most; all channels of a pixel are in one part.
    """
    if len(shape) == 1:
        return torch.arange(shape[0])
    rows, columns = (torch.arange(n) * min(grid, n) // n for n in shape[1:])
    parts = rows[:, None] * min(grid, shape[2]) + columns
    return parts.expand(shape)


def flat_baseline(inputs: torch.Tensor) -> torch.Tensor:
    """Returns inputs in which nothing is to be seen: an image's mean colour; else 0."""
    if inputs.ndim == 4:
        return inputs.mean(dim=(2, 3), keepdim=True).expand_as(inputs).contiguous()
    return torch.zeros_like(inputs)


def without_colour(images: torch.Tensor) -> torch.Tensor:
    """Returns RGB images (N, 3, H, W) in grey: all channels their luminance (ITU-R BT.601)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).reshape(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True).expand_as(images).contiguous()


def colour_share(question: Question, method: Callable[[Question], torch.Tensor]) -> torch.Tensor:
    """Returns how much of an answer rests on colour, shape (N,), in [0, 1]; nan for grey ones.

    The way from the flat baseline to the image is walked in two legs: to the image in grey, and
    from there to its colours; each leg's attributions sum to what it adds to the score. The share
    is that of the second leg, in absolute values.
    """
    grey = without_colour(question.inputs)
    flat = without_colour(question.baselines)
    legs = (replace(question, inputs=grey, baselines=flat), replace(question, baselines=grey))
    shape, colour = (method(leg).double().flatten(1).sum(dim=1).abs() for leg in legs)
    return colour / (shape + colour)


def mass_within(attributions: torch.Tensor, regions: torch.Tensor) -> torch.Tensor:
    """Returns how much of the positive attribution lies within regions, shape (N,), in [0, 1].

    Args:
        attributions: shape (N, C, H, W), summed over channels.
        regions: shape (N, H, W), bool. Where one is empty, or no attribution is positive: nan.

    Source:
        Relevance mass accuracy: Arras, Osman and Samek, Information Fusion 81 (2022).
    """
    positive = attributions.double().sum(dim=1).clamp(min=0)
    within = (positive * regions).sum(dim=(1, 2)) / positive.sum(dim=(1, 2))
    return torch.where(regions.any(dim=2).any(dim=1), within, torch.nan)


def curve(
    question: Question, order: torch.Tensor, *, insert: bool, steps: int = 10
) -> torch.Tensor:
    """Returns the area under the target's probability as parts are replaced, shape (N,).

    Args:
        question: what was explained.
        order: the parts in the order in which they are taken, shape (N, P).
        insert: whether parts of the input are put into the baseline; else parts of the baseline
            into the input.
        steps: of equal numbers of parts, ends included: a trapezoidal rule over `steps` + 1 places.

    Source:
        Petsiuk, Das and Saenko, RISE, BMVC 2018.
    """
    base, other = question.inputs, question.baselines
    if insert:
        base, other = other, base
    ranks = order.argsort(dim=1)[:, question.parts.flatten().to(order.device)]
    ranks = ranks.reshape(question.inputs.shape)
    count, areas = order.shape[1], torch.zeros(len(order), dtype=torch.float64)
    for step in range(steps + 1):
        mixed = torch.where(ranks < round(step / steps * count), other, base)
        with torch.no_grad():
            scores = question.scores(mixed).double().softmax(dim=1)
        found = scores.gather(1, question.targets[:, None])[:, 0].cpu()
        areas += found * ((0.5 if step in {0, steps} else 1.0) / steps)
    return areas


def randomised(module: torch.nn.Module, seed: int) -> torch.nn.Module | None:
    """Returns a copy whose weights are shuffled tensor by tensor; None where it has none.

    Source:
        Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018, all layers at once.
    """
    from copy import deepcopy

    copy = deepcopy(module)
    draws = torch.Generator().manual_seed(seed)
    weights = [weight for weight in copy.parameters() if weight.numel() > 1]
    with torch.no_grad():
        for weight in weights:
            order = torch.randperm(weight.numel(), generator=draws).to(weight.device)
            weight.copy_(weight.flatten()[order].reshape(weight.shape))
    return copy if weights else None
