"""Stand-ins for gradients: what is found out about a model, and what they lead back to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.losses import margin
from crucibench_suites.adversarial.attacks.model import (
    Found,
    ImagePoints,
    ModuleOracle,
    runners_up,
)
from crucibench_suites.adversarial.second import attack
from crucibench_suites.adversarial.second.standins import RewiredOracle, SmoothedOracle, stand_ins

sys.path.append(str(Path(__file__).parent))
from defences import Wrapped, straight_through
from small_models import digits, train

sys.path.pop()

SHAPE = (1, 8, 8)


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5, bias=False)).requires_grad_(False)


def _found(model: nn.Module) -> list[RewiredOracle]:
    return stand_ins(ModuleOracle(model, Draws(0, "attacks")), SHAPE)


def _gradient(oracle: ModuleOracle, x: torch.Tensor) -> torch.Tensor:
    return oracle.gradient(x, lambda logits: logits[:, 0])[2]


def _neighbours(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.avg_pool2d(x, 3, 1, 1)


class _Noisy(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient + 3 * gradient.std() * torch.randn_like(gradient)


def test_only_a_gradient_that_is_drawn_anew_varies(linear: nn.Module) -> None:
    assert [one.varies for one in _found(linear)] == [False]
    assert [one.varies for one in _found(Wrapped(linear, _Noisy.apply))] == [True, False]


def test_one_that_varies_is_no_other_gradient(linear: nn.Module) -> None:
    assert [one.varies for one in _found(nn.Sequential(nn.Dropout(0.5).train(), linear))] == [True]


def test_a_gradient_is_rough_where_answers_go_in_steps(linear: nn.Module) -> None:
    def stepped(z: torch.Tensor) -> torch.Tensor:
        return straight_through(z, (z * 2).round() / 2)

    assert [one.rough for one in _found(linear)] == [False]
    assert _found(Wrapped(linear, after=stepped))[0].rough


def test_what_is_done_to_images_without_a_graph_is_told_by_a_kernel(linear: nn.Module) -> None:
    hidden = Wrapped(linear, torch.no_grad()(_neighbours))
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    found = _gradient(_found(hidden)[-1], x)
    true = _gradient(ModuleOracle(Wrapped(linear, _neighbours), Draws(0, "attacks")), x)
    assert float((found - true).norm() / true.norm()) < 0.05


class _Median(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        moved = [x.roll(step, dim) for dim in (2, 3) for step in (-1, 1)]
        median: torch.Tensor = torch.stack([x, *moved]).median(0).values
        return median.detach() + 0 * x if self.hidden else median

    hidden = True


def test_a_part_without_a_gradient_is_told_by_differences_around_each_pixel(
    linear: nn.Module,
) -> None:
    part = _Median()
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    found = _gradient(_found(nn.Sequential(part, linear))[-1], x)
    part.hidden = False
    true = _gradient(ModuleOracle(nn.Sequential(part, linear), Draws(0, "attacks")), x)
    alike = nn.functional.cosine_similarity(found.flatten(1), true.flatten(1))
    assert float(alike.min()) > 0.8


def test_inner_scores_that_hardly_differ_have_alike_weights(linear: nn.Module) -> None:
    class Votes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = linear

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            votes = [self.model(x * scale).argmax(1) for scale in (0.99, 1.0, 1.01)]
            return torch.stack([nn.functional.one_hot(one, 5) for one in votes]).sum(0).float()

    weights = list(_found(Votes())[-1].rewired.tail.values())
    assert len(weights) == 3
    assert min(weights) > 0.8 * max(weights) > 0


def test_a_smoothed_gradient_comes_from_beside_in_each_step_elsewhere() -> None:
    curved = Wrapped(nn.Flatten(), after=lambda z: torch.stack([(z**2).sum(1), z.sum(1)], 1))
    by = SmoothedOracle(curved, Draws(0, "attacks"), inner=_found(curved)[0], size=0.1)
    x = torch.full((200, *SHAPE), 0.5)
    first, second = _gradient(by, x), _gradient(by, x)
    assert not torch.equal(first, second)
    assert torch.equal(first[0], first[1])  # by the step alone, whatever else is in the batch
    assert 0.15 < float((first[0] - 1).std()) < 0.25  # of a slope of 2 x
    logits, losses, _ = by.gradient(x, lambda z: margin(z, torch.zeros(200, dtype=torch.long)))
    assert torch.equal(logits, curved(x)) and torch.allclose(losses, logits[:, 1] - logits[:, 0])


def test_targets_are_ranked_by_the_scores_that_losses_are_made_of(linear: nn.Module) -> None:
    stepped = Wrapped(linear, after=lambda z: (z * 3).round() / 3)
    x = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(1))
    scores = linear(x)
    points = ImagePoints(
        x=x, y=scores.argmax(1), eps=torch.full((6,), 0.1), ids=tuple("abcdef"), norm="linf"
    )
    found = runners_up(_found(stepped)[-1], points, Found(points))
    assert torch.equal(found, scores.argsort(dim=1, descending=True)[:, 1:])


class _Keeps(nn.Module):
    """The largest quarter of the features of a perceptron, and no others."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        *features, self.head = model.children()
        self.features = nn.Sequential(*features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.features(x)
        least = features.topk(features.shape[1] // 4, dim=1).values[:, -1:]
        logits: torch.Tensor = self.head(torch.where(features >= least, features, 0.0))
        return logits


@pytest.mark.parametrize("rough", [False, True])
def test_ascents_begin_anew_where_answers_go_in_steps_alone(
    rough: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mlp = train("mlp", 0)
    model = _Keeps(mlp) if rough else mlp
    _, _, x, y = digits()
    labels = torch.as_tensor(y)
    rows = (model(x[:200]).argmax(1) == labels[:200]).nonzero()[:, 0]
    ids = tuple(str(row) for row in rows.tolist())
    eps = torch.full((len(rows),), 0.1)
    points = ImagePoints(x=x[rows], y=labels[rows], eps=eps, ids=ids, norm="linf")
    found = []
    for restarts in (0, 9):
        monkeypatch.setattr(attack, "_RESTARTS", restarts)
        oracle = ModuleOracle(model, Draws(0, "attacks"))
        found.append(attack.second_opinion(oracle, points, steps=40, queries=0, eot=1))
    gained = int(found[1].broken.sum()) - int(found[0].broken.sum())
    assert (gained > 2) if rough else (found[1].forwards == found[0].forwards).all()
