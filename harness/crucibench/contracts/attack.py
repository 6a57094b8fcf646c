"""Attacks: what each declares, what it is given, what it returns, and where its answer is known.

A third party adds an attack with one class in one file and one line in its own package::

    [project.entry-points."crucibench.attacks"]
    my-attack = "my_package.attack:MyAttack"

A spec names it under ``suites: {adversarial: {attacks: [my-attack]}}``. Nothing here imports torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.util.registry import Catalogue

if TYPE_CHECKING:
    from crucibench.util.draws import Draws

Norm = Literal["linf", "l2", "l1", "words"]
"""How the size of a change is measured; ``words`` is the share of a text's words."""

Access = Literal["white-box", "score", "decision"]
"""What an attack sees of the model: gradients, scores, or labels alone."""

SpaceName = Literal["image", "table", "text"]

TOLERANCE = 1.5
"""The largest ratio to the optimum that passes a self-test."""

FEW_QUERIES = 5.0
"""The same for attacks that see no gradients: they stay further behind, with few queries most."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Space(Protocol):
    """What may be changed in a batch of n samples, and how far: each sample is a point of R^d.

    Attributes:
        clean: the samples, shape (n, d).
        low: the least coordinates, shape (n, d); what may not change lies between equal ends.
        high: the greatest.
        norm: in which distances are measured.
    """

    clean: Floats
    low: Floats
    high: Floats
    norm: Norm

    def allowed(self, rows: Ints, points: Floats) -> Floats:
        """Returns the nearest points (k, d) that the model may be asked about."""

    def distance(self, rows: Ints, points: Floats) -> Floats:
        """Returns how far allowed points are from their samples, (k,)."""


@dataclass(frozen=True)
class Ball:
    """What an attack on images by gradients or scores is given.

    Attributes:
        oracle: the model: ``logits(x)`` gives logits (m, K) of images (m, C, H, W), without a
            graph; ``gradient(x, loss)`` logits, losses (m,) and the losses' gradient by x, for a
            loss of logits.
        points: images that the model gets right: ``x`` (m, C, H, W) in [0, 1] on its device, true
            classes ``y`` (m,), radii ``eps`` (m,) (one that looks for the nearest example may stop
            as soon as it lies within), ``ids``, which key all draws, and the ball's ``norm``.
        budget: what may be spent: ``steps``, ``restarts``, ``targets``, ``queries`` and ``eot``, as
            a threat model has them.
        start: where to begin, shape as ``points.x``; at random if None.
        radius: the radius in full precision where all points have one.
    """

    oracle: Any
    points: Any
    budget: Any
    start: Any = None
    radius: float | None = None


@dataclass(frozen=True, kw_only=True)
class Search:
    """What an attack on labels is given, and every attack on rows of tables.

    Attributes:
        questions: asks within each sample's budget, and keeps the nearest example: the attack
            returns nothing else. ``lead(rows, points)`` says how far the best wrong class leads
            over the true one at points (k, d): above 0 where the model is wrong, 1 or -1 where
            labels alone are seen, -infinity for what the budget leaves out; ``left`` (n,), whether
            anything is left to ask; ``space``, a `Space`; ``queries``, ``best`` (n, d) and
            ``distance`` (n,; infinity without an example) what there is so far.
        ids: of the samples, which key all draws.
        draws: likewise.
        radii: of the grid, ascending, above 0.
        targets: the true classes, shape (n,).
        model: the adapter, for white-box attacks on rows.
        slopes: its gradients by the columns of rows, counted; None without gradients.
        columns: how many columns may change; None for all.
    """

    questions: Any
    ids: Sequence[str]
    draws: Draws
    radii: Floats
    targets: Ints
    model: Any = None
    slopes: Any = None
    columns: int | None = None


class Attack(ABC):
    """An attack: what a cell runs, and what its self-test runs.

    Write a subclass of `GradientAttack`, `ScoreAttack` or `LabelAttack`.

    Attributes:
        name: as a spec and records name it; the entry point's.
        access: what it sees of the model.
        space: what it changes.
        norms: whose distances it makes small.
        nearest: whether it looks for the nearest example, whatever the radius.
        tolerance: the largest ratio to the optimum that passes its self-test.
        relations: of rows: whether it keeps relations between columns.
        known: which model of its space's self-tests it is for, where there are several.
        queries: of rows: what its self-test may ask about each sample.
        requires: what a model must be able to do.
    """

    name: ClassVar[str]
    access: ClassVar[Access]
    space: ClassVar[SpaceName] = "image"
    norms: ClassVar[tuple[Norm, ...]] = ("linf", "l2")
    nearest: ClassVar[bool] = False
    tolerance: ClassVar[float] = TOLERANCE
    relations: ClassVar[bool] = True
    known: ClassVar[str] = "linear"
    queries: ClassVar[int] = 500
    requires: ClassVar[frozenset[Capability]]

    @abstractmethod
    def run(self, given: Any) -> Any:
        """Attacks samples that the model gets right.

        Args:
            given: of images a `Ball` for gradients and scores, a `Search` for labels; of rows a
                `Search`; of texts the course of one sample.

        Returns:
            Of a `Ball` images of the shape of ``points.x``: where nothing was found, any image will
            do. Of a `Search` nothing. Of a text the questions, as a generator.
        """


class GradientAttack(Attack):
    """An attack that follows gradients."""

    access = "white-box"
    requires = frozenset({Capability.SCORES, Capability.GRADIENTS, Capability.ANY_INPUT})


class ScoreAttack(Attack):
    """An attack that sees scores and no gradients."""

    access = "score"
    tolerance = FEW_QUERIES
    requires = frozenset({Capability.SCORES, Capability.ANY_INPUT})


class LabelAttack(Attack):
    """An attack that sees labels alone, and so looks for the nearest example."""

    access = "decision"
    nearest = True
    tolerance = FEW_QUERIES
    requires = frozenset({Capability.ANY_INPUT})


@dataclass(frozen=True, kw_only=True)
class SelfTestResult:
    """What an attack did where the answer is known.

    Attributes:
        attack: its name.
        norm: of the ball.
        kind: ``within`` a radius, or ``nearest``.
        passed: whether its results may count.
        ratio: how far it stays behind the optimum, 1 at best. ``nearest``: the median distance of
            its examples divided by the optimum. ``within``: the smallest radius tried, divided by
            the optimum, at which it breaks 95 % of the samples. Infinity where it never does.
        tolerance: the largest ratio that passes.
        found: share of samples with a valid example: finite, allowed, misclassified.
        optimum: the distance of every sample in closed form.
        samples: their number.
        versions: of what was tested.
        reason: one sentence with the numbers.
        distances: of the examples found, in the order of the samples; infinity without one. Of
            ``within``, at the radius of `ratio`.
    """

    attack: str
    norm: Norm
    kind: Literal["within", "nearest"]
    passed: bool
    ratio: float
    tolerance: float
    found: float
    optimum: float
    samples: int
    versions: dict[str, str]
    reason: str
    distances: NDArray[np.float64] = field(repr=False, compare=False)


class KnownAnswers(ABC):
    """The self-tests of a space, registered under its name in the group ``crucibench.spaces``.

    Attributes:
        name: of the space.
    """

    name: ClassVar[SpaceName]

    @abstractmethod
    def self_test(self, attack: Attack, norm: Norm) -> SelfTestResult:
        """Runs ``attack.run`` on models whose nearest examples are known in closed form."""


@cache
def attacks() -> Catalogue[Attack]:
    """Returns all registered attacks, by name."""
    return Catalogue("crucibench.attacks", "attack", Attack)


@cache
def known_answers() -> Catalogue[KnownAnswers]:
    """Returns the self-tests of all spaces, by the space's name."""
    return Catalogue("crucibench.spaces", "space", KnownAnswers)
