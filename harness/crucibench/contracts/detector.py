"""An OOD detector: from what a model answers to a sample, how unlike the known data that is.

A third party adds one with one class and one line in its own package::

    [project.entry-points."crucibench.detectors"]
    norm = "my_package.norm:FeatureNorm"
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability, ScoreKind

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

Score: TypeAlias = "Callable[[Answers, Sequence[float]], Floats]"
"""From n answers and s values of the detector's setting to scores, shape (n, s), finite: the
higher, the less like the data that the model was made for. A detector without a setting gets one
value and leaves it out of account."""

FittedOn = Literal["train", "moments", "head", "kept"]
"""The train role, sums over it, the last linear layer, or the validation part of the test role."""

_Part = TypeVar("_Part")

_SMALLEST = float(np.finfo(np.float64).eps)
"""Least probability that a logarithm is taken of."""

_SINGULAR = 1e-12
"""Directions with less than this share of all variance carry rounding, not distance."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a model answered to n samples.

    Attributes:
        raw: its scores as they were recorded, shape (n, K).
        kind: what they are.
        features: the input of its last linear layer, float64, shape (n, D); None where the detector
            does not require them.
        asked: what the detector's own `ask` recorded, shape (n, len(values)), nan for values that
            were not asked for; None where it has no `ask`.
    """

    raw: NDArray[np.floating]
    kind: ScoreKind
    features: Floats | None = None
    asked: Floats | None = None

    def __len__(self) -> int:
        return len(self.raw)

    def take(self, rows: Any) -> Answers:
        """Returns the answers to some of the samples, by their rows or a slice of them."""
        features = None if self.features is None else self.features[rows]
        asked = None if self.asked is None else self.asked[rows]
        return Answers(raw=self.raw[rows], kind=self.kind, features=features, asked=asked)

    @cached_property
    def logits(self) -> Floats:
        """Float64, shape (n, K); of a model that gives probabilities, their logarithms."""
        matrix = self.raw.astype(np.float64)
        return matrix if self.kind == "logits" else np.log(np.maximum(matrix, _SMALLEST))

    @cached_property
    def probabilities(self) -> Floats:
        """Float64, shape (n, K), rows summing to 1."""
        return softmax_rows(self.logits)

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


def softmax_rows(logits: Floats) -> Floats:
    """Returns the softmax of finite logits (n, K), row by row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last linear layer: weight (K, D) and bias (K,), float64."""

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

    @classmethod
    def of(cls, blocks: Iterable[tuple[Answers, Ints]], classes: int) -> Moments:
        """Sums up features and class indices block by block, in O(block) memory.

        Features are summed less the mean of the first block, so that a mean that is large against
        the spread costs no digits.

        Raises:
            ValueError: if there is no sample.
        """
        shift: Floats | None = None
        count, right_count = np.zeros((2, classes), dtype=np.int64)
        for answers, targets in blocks:
            if not len(targets):
                continue
            features = answers.known_features
            if shift is None:
                shift = features.mean(axis=0)
                totals, right_totals = np.zeros((2, classes, len(shift)))
                squares = np.zeros((len(shift), len(shift)))
            moved = features - shift
            squares += moved.T @ moved
            right = answers.predictions == targets
            count += np.bincount(targets, minlength=classes)
            right_count += np.bincount(targets[right], minlength=classes)
            totals += _sums_by_class(moved, targets, np.ones(len(targets)), classes)
            right_totals += _sums_by_class(moved, targets, right.astype(np.float64), classes)
        if shift is None:
            raise ValueError("the train role has no sample")
        total = totals.sum(axis=0)
        return cls(
            count=count, means=_means(totals, count, shift),
            right_count=right_count, right_means=_means(right_totals, right_count, shift),
            scatter=squares - np.outer(total, total) / count.sum(),
        )  # fmt: skip

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


def _means(totals: Floats, count: Ints, shift: Floats) -> Floats:
    means = totals / np.maximum(count, 1)[:, None] + shift
    means[count == 0] = 0.0
    return np.asarray(means)


def _sums_by_class(moved: Floats, targets: Ints, weights: Floats, classes: int) -> Floats:
    from scipy.sparse import csr_array

    ends = np.arange(len(targets) + 1)
    return np.asarray(csr_array((weights, targets, ends), (len(targets), classes)).T @ moved)


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


class TrainArrays(Train):
    """A train role in memory, read in blocks of some size."""

    def __init__(self, answers: Answers, targets: Ints, block: int = 64) -> None:
        self._answers, self._targets, self._block = answers, targets, block

    def __len__(self) -> int:
        return len(self._targets)

    def blocks(self) -> Iterator[tuple[Answers, Ints]]:
        """Yields answers and class indices, a block at a time."""
        for start in range(0, len(self), self._block):
            rows = slice(start, start + self._block)
            yield self._answers.take(rows), self._targets[rows]

    def sample(self, count: int) -> tuple[Answers, Ints]:
        """Returns the first `count` samples."""
        return self._answers.take(slice(count)), self._targets[:count]


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


def _there(part: _Part | None, name: str) -> _Part:
    if part is None:
        raise TypeError(f"{name}: the detector does not list {name!r} in `uses`")
    return part


class UnfitError(ValueError):
    """What there is to fit a detector on won't do, as features that never vary."""


@dataclass(frozen=True)
class DetectorExample:
    """A small made-up task for known answers: a linear model of its own features.

    Attributes:
        train: features of the train role, shape (n, D), not negative; the samples kept apart for
            validation are the same.
        targets: their class indices, shape (n,).
        head: the model: logits are ``head.logits(features)``.
        asked: features of the samples that are scored, shape (m, D).
    """

    train: Floats
    targets: Ints
    head: Head
    asked: Floats

    @classmethod
    def make(cls) -> DetectorExample:
        """Returns the one example of all known answers: 4 classes, 60 train samples, D = 8, m = 9.

        Half of the scored samples are like the train role, half lie off all classes.
        """
        rng = np.random.default_rng(20)
        centres = rng.normal(0.5, 1.5, (4, 8))
        targets = np.arange(60, dtype=np.int64) % 4
        train = np.maximum(centres[targets] + rng.normal(0, 0.8, (60, 8)), 0.0)
        near = centres[np.arange(5) % 4] + rng.normal(0, 0.8, (5, 8))
        asked = np.maximum(np.concatenate([near, rng.normal(0.5, 2, (4, 8))]), 0.0)
        # Weak enough that some samples are mistaken, so that a temperature has a best value.
        head = Head(weight=centres + rng.normal(0, 1.0, centres.shape), bias=rng.normal(0, 2.0, 4))
        return cls(train, targets, head, asked)

    def answers(self, features: Floats) -> Answers:
        """Returns what the model answers to features (n, D)."""
        return Answers(raw=self.head.logits(features), kind="logits", features=features)

    def material(self, uses: frozenset[FittedOn], block: int = 64) -> Material:
        """Returns what a detector is fitted on, the train role read in blocks."""
        answers, classes = self.answers(self.train), len(self.head.bias)
        train = TrainArrays(answers, self.targets, block)
        return Material(
            classes=classes,
            train=train if "train" in uses else None,
            moments=Moments.of(train.blocks(), classes) if "moments" in uses else None,
            head=self.head if "head" in uses else None,
            kept=(answers, self.targets) if "kept" in uses else None,
        )


class Detector(ABC):
    """Scores answers by how little they are like those to known data.

    Attributes:
        name: as users type it, and under which it is registered.
        title: as reports write it.
        definition: one or two sentences that a reader can recompute the score from.
        source: where it was published.
        version: raised whenever the same answers would get other scores.
        requires: what the model must be able to give; ``SCORES`` always. ``FEATURES`` and
            ``LOGITS`` are read of recorded passes; ``HEAD`` goes with ``head`` in `uses`, and
            ``GRADIENTS`` with a method `ask`.
        uses: what it is fitted on: ``train`` and ``moments`` of the train role, ``kept`` of the
            part of the test role that is kept apart for validation, ``head`` of the model.
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
    uses: ClassVar[frozenset[FittedOn]] = frozenset()
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

    @abstractmethod
    def known_answer(self, example: DetectorExample) -> Floats:
        """Returns the scores of `example.asked` at the default setting, shape (m,).

        By a closed form or a plain formula that shares no code with `fit`: cells of a detector
        that gives other scores are suspect, and the conformance kit refuses it.
        """

    def ask(self, module: Any, inputs: Any, values: Sequence[float]) -> Any:
        """Asks the model itself, where recorded passes do not do: as by steps along its gradients.

        Args:
            module: from encoded inputs to logits (N, K), differentiable by torch.
            inputs: a batch of encoded inputs, a float tensor of N rows.
            values: those of the setting that are needed.

        Returns:
            Shape (N, len(values)), float64: found again in `Answers.asked`.
        """
        raise NotImplementedError(f"{self.name}: it asks the model nothing of its own")

    @property
    @final
    def asks(self) -> bool:
        """Whether it has an `ask` of its own."""
        return type(self).ask is not Detector.ask

    @final
    def fitted(self, material: Material) -> Score:
        """Fits the detector; what it then scores by refuses scores of wrong shape or not finite."""
        score = self.fit(material)

        def checked(answers: Answers, values: Sequence[float]) -> Floats:
            found = np.asarray(score(answers, values), dtype=np.float64)
            wanted = (len(answers), len(values))
            if found.shape != wanted:
                raise ValueError(
                    f"detector {self.name!r}: expected scores of shape {wanted}, got {found.shape}"
                )
            if not np.isfinite(found).all():
                bad = int((~np.isfinite(found)).any(axis=1).sum())
                raise ValueError(
                    f"detector {self.name!r}: {bad} of {len(found)} scores are not finite"
                )
            return found

        return checked

    @final
    def self_test(self) -> str:
        """Runs what a cell runs on the known answer; returns what is wrong, or "".

        A score that is the same for all samples is wrong, whatever the known answer.
        """
        example = DetectorExample.make()
        try:
            expected = np.asarray(self.known_answer(example), dtype=np.float64)
            answers = self.example_answers(example, example.asked, (self.default,))
            score = self.fitted(example.material(self.uses))
            found = score(answers, (self.default,))[:, 0]
        except Exception as error:  # whatever another package's code raises
            return f"{type(error).__name__}: {error}"
        if expected.shape != found.shape:
            return f"expected a known answer of shape {found.shape}, got {expected.shape}"
        least = 1e-6 * (1e-3 + float(np.abs(expected).max()))
        if not np.ptp(expected) > least or not np.ptp(found) > least:
            return "it gives all samples of the example the same score"
        if float(np.abs(found - expected).max()) > 1e-4 * float(np.ptp(expected)):
            worst = int(np.argmax(np.abs(found - expected)))
            return (
                f"its known answer is {expected[worst]:.6g} where it scores {found[worst]:.6g} "
                f"(sample {worst} of the example)"
            )
        return ""

    @final
    def example_answers(
        self, example: DetectorExample, features: Floats, values: Sequence[float]
    ) -> Answers:
        """Returns what the example's model answers, `ask` included, as a cell records it."""
        answers = example.answers(features)
        if not self.asks:
            return answers
        import torch

        weight, bias = (torch.from_numpy(part) for part in
                        (example.head.weight, example.head.bias))  # fmt: skip
        asked = recorded(self, lambda x: x @ weight.T + bias, torch.from_numpy(features), values)
        return Answers(raw=answers.raw, kind=answers.kind, features=answers.features, asked=asked)


def recorded(detector: Detector, module: Any, inputs: Any, values: Sequence[float]) -> Floats:
    """Returns what a detector asks a model, a column for each of its values; nan if not asked."""
    every = detector.values or (detector.default,)
    found = np.full((len(inputs), len(every)), np.nan)
    if len(inputs):
        asked = np.asarray(detector.ask(module, inputs, values), dtype=np.float64)
        found[:, [every.index(value) for value in values]] = asked
    return found
