"""Known-answer tests of attacks: a linear model, whose nearest examples are known in closed form.

The distance of a sample to the hyperplane where another class takes over is margin / |w|_q, with q
dual to the norm. All samples are put at one distance, well inside the box, so that one number says
how far an attack stays behind the optimum: the ratio of what it needs to what is enough. With two
classes in play cross-entropy, margin and DLR point the same way: what is tested is whether an
attack is implemented as it should be, not whether its loss is the best.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crucibench.contracts.attack import (
    TOLERANCE,
    Attack,
    Ball,
    Floats,
    Ints,
    KnownAnswers,
    Norm,
    Search,
    SelfTestResult,
)
from crucibench.util.draws import Draws
from crucibench_suites.adversarial.attacks.model import (
    ImagePoints,
    ModuleOracle,
    attack_ball,
    frozen,
    length,
)
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.blackbox.questions import BudgetedQuestions
from crucibench_suites.adversarial.of_foolbox import FoolboxAttack
from crucibench_suites.adversarial.threat import ThreatModel

AttackCall = Callable[[nn.Module, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""An attack: from a model (logits of images), images (n, 1, 8, 8) in [0, 1], labels (n,) and a
radius to images of the same shape. Where it has found nothing, any image will do. An attack that
looks for the nearest example, whatever the radius, is given infinity."""

Kind = Literal["within", "nearest"]

MOST = 0.95
"""The share of samples that must be broken at a ratio."""

_RATIOS = (1.05, 1.1, 1.2, 1.3, 1.4, 1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 20.0)
_OPTIMUM: dict[Norm, float] = {"linf": 0.02, "l2": 0.1, "l1": 0.25}
_SIDE, _SAMPLES = 8, 16
_BLOCK = 2
"""Weights are alike within blocks, as those of neighbouring pixels are: Square relies on it."""
_FAR = -30.0
_SLACK = 1e-3
"""By how much, relatively, an example may leave the ball, or be nearer than the optimum."""


def self_test(
    attack: AttackCall,
    norm: Norm,
    *,
    name: str = "attack",
    kind: Kind = "within",
    tolerance: float = TOLERANCE,
    versions: dict[str, str] | None = None,
) -> SelfTestResult:
    """Runs `attack` on linear models of 2 and of 10 classes; see the module.

    An attack that draws from torch's global generator is seeded, and the generator's state is put
    back. What the attack raises is raised.

    Args:
        attack: see `AttackCall`; it must not change its arguments.
        norm: of the ball.
        name: for the messages.
        kind: whether it takes a radius, or looks for the nearest example.
        tolerance: the largest ratio to the optimum that passes.
        versions: of the packages that implement it, besides torch and crucibench.
    """
    optimum = _OPTIMUM[norm]
    cases = [case(classes, norm) for classes in (2, 10)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if kind == "nearest":
            distances = _distances(attack, cases, norm, math.inf)
            ratio = float(np.median(distances)) / optimum
        else:
            ratio, distances = _smallest(attack, cases, norm)
    return judged(
        name, norm, kind, ratio=ratio, tolerance=tolerance, distances=distances, optimum=optimum,
        nearer=int((distances < optimum * (1 - _SLACK)).sum()),
        reason=f"on linear models in {norm} {_sentence(kind, ratio, distances, tolerance)}",
        versions=versions,
    )  # fmt: skip


def judged(
    name: str, norm: Norm, kind: Kind, *, ratio: float, tolerance: float, distances: Floats,
    optimum: float, nearer: int, reason: str, versions: dict[str, str] | None = None,
) -> SelfTestResult:  # fmt: skip
    """Returns a result, which passes if examples are near enough, many enough and possible.

    Args:
        name: of the attack.
        norm: of distances.
        kind: as of the result.
        ratio: of what the attack needs to what is enough.
        tolerance: the largest ratio that passes.
        distances: of the examples, shape (n,); infinity without one.
        optimum: what is enough.
        nearer: how many examples are nearer than any can be.
        reason: what was seen, where no example is nearer than that.
        versions: of the packages that implement it, besides torch and crucibench.
    """
    found = float(np.isfinite(distances).mean())
    if nearer:
        reason = f"{nearer} of its examples are nearer than any can be, in {norm}"
    return SelfTestResult(
        attack=name,
        norm=norm,
        kind=kind,
        passed=ratio <= tolerance and found >= MOST and not nearer,
        ratio=ratio,
        tolerance=tolerance,
        found=found,
        optimum=optimum,
        samples=len(distances),
        versions={**installed(), **(versions or {})},
        reason=f"{name}: {reason}",
        distances=distances,
    )


def installed(*packages: str) -> dict[str, str]:
    """Returns the versions of torch, crucibench and `packages`, of those that are installed."""
    found: dict[str, str] = {}
    for package in ("torch", "crucibench", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class _Linear(nn.Module):
    """Logits W x + b of a flat image."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


@dataclass(frozen=True)
class Case:
    """A linear model, and samples that all lie at one distance from its decision boundary.

    Attributes:
        model: logits of images.
        x: float32, shape (n, 1, 8, 8), between 0.2 and 0.8 or so.
        y: true classes, which the model knows, shape (n,).
    """

    model: nn.Module
    x: torch.Tensor
    y: torch.Tensor


def case(classes: int, norm: Norm) -> Case:
    """Makes a model of `classes` classes, two of which are in play: the others are far away."""
    rng = np.random.default_rng(classes)
    pixels = _SIDE * _SIDE
    coarse = rng.normal(size=(classes, _SIDE // _BLOCK, _SIDE // _BLOCK))
    weight = np.kron(coarse, np.ones((_BLOCK, _BLOCK))).reshape(classes, pixels)
    bias = np.full(classes, _FAR)
    bias[:2] = 0.0
    weight[2:] *= 0.1
    apart = weight[1] - weight[0]
    bias[1] = -apart.sum() / 2  # so that grey images lie on the boundary
    y = np.arange(_SAMPLES) % 2
    x = rng.uniform(0.3, 0.7, (_SAMPLES, pixels))
    dual = np.linalg.norm(apart, ord={"linf": 1, "l2": 2, "l1": np.inf}[norm])
    wanted = np.where(y == 1, 1.0, -1.0) * _OPTIMUM[norm] * dual
    # Moved along the normal, each margin becomes what it should be.
    x += ((wanted - x @ apart - bias[1]) / (apart @ apart))[:, None] * apart
    model = _Linear(
        torch.tensor(weight, dtype=torch.float32), torch.tensor(bias, dtype=torch.float32)
    )
    images = torch.tensor(x, dtype=torch.float32).view(-1, 1, _SIDE, _SIDE)
    return Case(model.eval(), images, torch.from_numpy(y))


def _smallest(
    attack: AttackCall, cases: list[Case], norm: Norm
) -> tuple[float, NDArray[np.float64]]:
    """Returns, by bisection, the smallest ratio that is enough, and the distances there."""
    low, high = 0, len(_RATIOS)
    best: NDArray[np.float64] | None = None
    while low < high:
        at = (low + high) // 2
        last = _distances(attack, cases, norm, _RATIOS[at] * _OPTIMUM[norm])
        if np.isfinite(last).mean() >= MOST:
            high, best = at, last
        else:
            low = at + 1
    return (_RATIOS[high], best) if best is not None else (math.inf, last)


def _distances(
    attack: AttackCall, cases: list[Case], norm: Norm, radius: float
) -> NDArray[np.float64]:
    """Returns the distance of each valid example; infinity where there is none."""
    found = []
    for one in cases:
        examples = attack(one.model, one.x.clone(), one.y.clone(), radius).detach()
        if examples.shape != one.x.shape:
            raise ValueError(
                f"attack: expected images of shape {tuple(one.x.shape)}, "
                f"got {tuple(examples.shape)}"
            )
        finite = torch.isfinite(examples).flatten(1).all(1)
        shown = torch.where(finite[:, None, None, None], examples.float(), one.x)
        distance = length(shown.double() - one.x.double(), norm)
        with torch.no_grad():
            wrong = one.model(shown).argmax(1) != one.y
        boxed = ((shown >= 0) & (shown <= 1)).flatten(1).all(1)
        valid = finite & wrong & boxed & (distance <= radius * (1 + _SLACK))
        found.append(torch.where(valid, distance, torch.inf))
    return torch.cat(found).numpy()


def _sentence(kind: Kind, ratio: float, distances: Floats, tolerance: float) -> str:
    found = float(np.isfinite(distances).mean())
    if kind == "nearest":
        if not math.isfinite(ratio):
            return f"it finds an example for {100 * found:.0f} % of the samples only"
        sentence = (
            f"its examples are {ratio:.3g} times as far away as the nearest there are (median)"
        )
        if found < MOST:
            sentence += f", and {100 * (1 - found):.0f} % of the samples have none"
    elif math.isfinite(ratio):
        sentence = f"it needs {ratio:.3g} times the radius that is enough"
    else:
        sentence = (
            f"it breaks {100 * found:.0f} % of the samples within {_RATIOS[-1]:.3g} times the "
            "radius that is enough for all"
        )
    return f"{sentence}; up to {tolerance:.3g} is expected"


_STEPS, _BALL_QUERIES = 20, 150
_SEARCH_QUERIES = 500
"""Enough for a test; runs may spend more, or less."""


class TestedOnce(KnownAnswers):
    """Self-tests that each attack takes once a process."""

    def self_test(self, attack: Attack, norm: Norm) -> SelfTestResult:
        """Returns how an attack does where the answer is known."""
        return _tested(self, attack, type(attack).run, norm)

    @abstractmethod
    def test(self, attack: Attack, norm: Norm) -> SelfTestResult:
        """Runs ``attack.run`` on models whose nearest examples are known in closed form."""


@cache
def _tested(answers: TestedOnce, attack: Attack, body: object, norm: Norm) -> SelfTestResult:
    # The body is part of the key: an attack whose body was replaced is another attack.
    return answers.test(attack, norm)


class ImageAnswers(TestedOnce):
    """Attacks on images, on linear models whose boundary is known."""

    name = "image"

    def test(self, attack: Attack, norm: Norm) -> SelfTestResult:
        """Runs an attack on linear models."""
        # foolbox asks about logits, whatever its attacks make of them.
        of_foolbox = isinstance(attack, FoolboxAttack)
        by_labels = attack.access == "decision" and not of_foolbox
        call = _by_labels(attack, norm) if by_labels else _in_balls(attack, norm)
        versions = installed("foolbox", "eagerpy") if of_foolbox else None
        return self_test(
            call, norm, name=attack.name, kind="nearest" if attack.nearest else "within",
            tolerance=attack.tolerance, versions=versions,
        )  # fmt: skip


def _in_balls(attack: Attack, norm: Norm) -> AttackCall:
    budget = ThreatModel(norm=norm, eps=(0.0,), steps=_STEPS, targets=1, queries=_BALL_QUERIES)

    def call(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        # What looks for the nearest leaves as soon as an example lies within the radius.
        eps = torch.full((len(x),), 0.0 if attack.nearest else radius)
        ids = tuple(f"self-test-{row}" for row in range(len(x)))
        points = ImagePoints(x=x, y=y, eps=eps, ids=ids, norm=norm)
        with frozen(model):
            oracle = ModuleOracle(model, Draws(0, "self-test"))
            return attack_ball(attack, Ball(oracle, points, budget, radius=radius)).adversarial

    return call


def _by_labels(attack: Attack, norm: Norm) -> AttackCall:
    def call(model: nn.Module, x: torch.Tensor, y: torch.Tensor, radius: float) -> torch.Tensor:
        space = Pixels(x, norm)

        def lead(rows: Ints, images: torch.Tensor) -> Floats:
            with torch.no_grad():
                wrong = model(images).argmax(1) != y[torch.from_numpy(rows)]
            return np.where(wrong.numpy(), 1.0, -1.0)

        none = np.zeros(0)
        questions = BudgetedQuestions(space, space.answered(lead, 4096), none, _SEARCH_QUERIES)
        ids = [f"self-test-{row}" for row in range(len(x))]
        attack.run(
            Search(
                questions=questions, ids=ids, draws=Draws(0, "self-test"), radii=none,
                targets=y.numpy(),
            )
        )  # fmt: skip
        images: torch.Tensor = space.images(questions.best)
        return images

    return call
