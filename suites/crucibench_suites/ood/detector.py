"""What a detector is: it says of a model's answer to a sample how far that lies from the known.

A third party adds one with one class and one line in its own package::

    [project.entry-points."crucibench.ood_detectors"]
    norm = "my_package.norm:FeatureNorm"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability, ScoreKind
from crucibench.metrics.probabilistic import log_probabilities, softmax

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

Score: TypeAlias = "Callable[[Answers, Sequence[float]], Floats]"
"""From n answers and s values of the detector's setting to scores, shape (n, s), finite: the
higher, the less like the data that the model was made for. A detector without a setting gets one
value and leaves it out of account."""

Uses = Literal["train", "moments", "head", "kept"]

_Part = TypeVar("_Part")

_SINGULAR = 1e-12
"""Directions with less than this share of all variance carry rounding, not distance."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answered to n samples.

    Attributes:
        raw: its scores as they were recorded, shape (n, K).
        kind: what they are.
        features: the input of its last linear layer, float64, shape (n, D); None where the detector
            did not ask for them.
        steps: the highest probability after steps of several sizes against the gradient, shape
            (n, s); None but for ODIN.
    """

    raw: NDArray[np.floating]
    kind: ScoreKind
    features: Floats | None = None
    steps: Floats | None = None

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, rows: Ints) -> Answers:
        """Returns the answers to some of the samples, by their rows."""
        features = None if self.features is None else self.features[rows]
        steps = None if self.steps is None else self.steps[rows]
        return Answers(raw=self.raw[rows], kind=self.kind, features=features, steps=steps)

    @cached_property
    def logits(self) -> Floats:
        """Float64, shape (n, K); of a model that gives probabilities, their logarithms."""
        matrix = self.raw.astype(np.float64)
        return matrix if self.kind == "logits" else log_probabilities(matrix)

    @cached_property
    def probabilities(self) -> Floats:
        """Float64, shape (n, K), rows summing to 1."""
        return softmax(self.logits)

    @cached_property
    def predictions(self) -> Ints:
        """The class of the highest score, the first of equals, shape (n,)."""
        return np.asarray(self.raw.argmax(axis=1), dtype=np.int64)

    @property
    def known_features(self) -> Floats:
        """The features of a detector that requires them.

        Raises:
            TypeError: if it did not say that it does.
        """
        if self.features is None:
            raise TypeError(
                "features: the detector does not list Capability.FEATURES in `requires`"
            )
        return self.features


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last linear layer.

    Attributes:
        weight: float64, shape (K, D).
        bias: float64, shape (K,).
    """

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Returns the logits of features (n, D), shape (n, K)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sums over the train role, made in one pass.

    Attributes:
        count: samples by class, shape (K,).
        means: mean features by class, shape (K, D); 0 where a class has no sample.
        right_count: samples that the model predicts rightly, by class, shape (K,).
        right_means: their mean features, shape (K, D); 0 where there is none.
        scatter: sum of (x - mean)(x - mean)^T over all samples, shape (D, D).
    """

    count: Ints
    means: Floats
    right_count: Ints
    right_means: Floats
    scatter: Floats

    @property
    def n(self) -> int:
        """How many samples there are."""
        return int(self.count.sum())

    @cached_property
    def mean(self) -> Floats:
        """The mean of all samples, shape (D,)."""
        return np.asarray(self.count @ self.means / self.n)

    @cached_property
    def covariance(self) -> Floats:
        """Of all samples about their mean, divided by n, shape (D, D)."""
        return self.scatter / self.n

    @property
    def least_variance(self) -> float:
        """What a variance must exceed to be more than rounding of these sums."""
        rounded = _SINGULAR * float(np.abs(self.mean).max(initial=0.0))
        return max(_SINGULAR * float(np.trace(self.covariance)), rounded**2)

    @cached_property
    def within(self) -> Floats:
        """Of all samples about the means of their classes, divided by n, shape (D, D)."""
        apart = (self.means - self.mean) * np.sqrt(self.count)[:, None]
        return (self.scatter - apart.T @ apart) / self.n


class Train(ABC):
    """The pass over the train role, read in blocks."""

    @abstractmethod
    def __len__(self) -> int:
        """Returns how many samples there are."""

    @abstractmethod
    def blocks(self) -> Iterator[tuple[Answers, Ints]]:
        """Yields answers and class indices, at most some thousands at a time."""

    @abstractmethod
    def sample(self, count: int) -> tuple[Answers, Ints]:
        """Returns at most `count` samples, those of smallest hash, for what needs no more."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a detector is fitted on: only what it lists in `uses` is there.

    Attributes:
        classes: K.
        train: the pass over the train role.
        moments: sums over it.
        head: the last linear layer.
        kept: answers to the familiar samples that are kept apart, and their class indices.
    """

    classes: int
    train: Train | None = None
    moments: Moments | None = None
    head: Head | None = None
    kept: tuple[Answers, Ints] | None = None

    def the_train(self) -> Train:
        """Returns the train role; TypeError if `uses` does not list it."""
        return _there(self.train, "train")

    def the_moments(self) -> Moments:
        """Returns the sums; TypeError if `uses` does not list them."""
        return _there(self.moments, "moments")

    def the_head(self) -> Head:
        """Returns the last layer; TypeError if `uses` does not list it."""
        return _there(self.head, "head")

    def the_kept(self) -> tuple[Answers, Ints]:
        """Returns the samples kept apart; TypeError if `uses` does not list them."""
        return _there(self.kept, "kept")


class UnfitError(ValueError):
    """What there is to fit a detector on won't do, as features that never vary."""


class Detector(ABC):
    """Scores answers by how little they are like those to known data.

    Attributes:
        name: as users type it.
        title: as reports write it.
        definition: one or two sentences that a reader can recompute the score from.
        source: where it was published.
        version: raised whenever the same answers would get other scores.
        requires: what the model must be able to give; ``SCORES`` always.
        uses: what it is fitted on.
        setting: the name of its one hyper-parameter, or "".
        values: those that the validation sets choose from.
        default: what is used where there is no validation set.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    definition: ClassVar[str]
    source: ClassVar[str] = ""
    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES})
    uses: ClassVar[frozenset[Uses]] = frozenset()
    setting: ClassVar[str] = ""
    values: ClassVar[tuple[float, ...]] = ()
    default: ClassVar[float] = 0.0

    @abstractmethod
    def fit(self, material: Material) -> Score:
        """Fits the detector and returns what it scores by; must not depend on any global state.

        Raises:
            UnfitError: with a sentence that says why what there is to fit on won't do: the
                detector's numbers are null then, with this reason. Any other error is a failed
                cell.
        """


def _there(part: _Part | None, name: str) -> _Part:
    if part is None:
        raise TypeError(f"{name}: the detector does not list {name!r} in `uses`")
    return part
