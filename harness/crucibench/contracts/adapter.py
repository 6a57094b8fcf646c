"""The adapter contract: it makes one kind of model answerable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast, final

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec, ScoreKind
from crucibench.contracts.data import DataCard
from crucibench.contracts.lists import Column, Lists
from crucibench.contracts.task import FEATURES, OutputError, Task
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.http.limits import Remote

if TYPE_CHECKING:
    import torch

    from crucibench.contracts.tree import Forest, Linear, Tree

Request = frozenset[str]
"""What a pass asks for: any of ``scores``, ``values``, ``labels``, ``features``."""


class Answer:
    """A model's answer to a batch: named arrays, as the task's kind declares them.

    What was not asked for or is not there is left out.

    Example:
        >>> answer = Answer(labels=np.array([0, 2]))
        >>> answer["labels"].tolist(), answer.get("scores"), answer.names
        ([0, 2], None, ('labels',))
    """

    def __init__(self, **fields: Column | None) -> None:
        """Takes arrays or `Lists` of n rows by field name; None for a field that is left out."""
        self._fields = {name: array for name, array in fields.items() if array is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that there are."""
        return tuple(self._fields)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Returns an array that is there."""
        return cast("NDArray[Any]", self._fields[name])

    def get(self, name: str) -> NDArray[Any] | None:
        """Returns an array, or None where the answer lacks it."""
        return cast("NDArray[Any] | None", self._fields.get(name))

    def column(self, name: str) -> Column | None:
        """Returns a field, an array or `Lists`, or None where the answer lacks it."""
        return self._fields.get(name)

    def lists(self, name: str) -> Lists:
        """Returns lists that are there (`AnswerField.lists`)."""
        return cast("Lists", self._fields[name])

    @property
    def scores(self) -> NDArray[np.floating[Any]] | None:
        """Classification: (N, K), of the kind that the adapter declares, in the data's order."""
        return self.get("scores")

    @property
    def labels(self) -> NDArray[np.integer[Any]] | None:
        """Classification: (N,) class indices."""
        return self.get("labels")

    @property
    def values(self) -> NDArray[np.floating[Any]] | None:
        """Regression: (N,) numbers."""
        return self.get("values")

    @property
    def features(self) -> NDArray[np.floating[Any]] | None:
        """Any kind: (N, D), the input of the last linear layer."""
        return self.get("features")


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """What a model does to pixels before its first layer: (x * scale - mean) / std, by channel.

    `scale` maps the canonical [0, 1] to the range that the model was trained on.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """All that an adapter gets to open a model.

    Attributes:
        name: the model's name in the run.
        uri: its address.
        base: the folder that relative paths are relative to.
        data: the data set it will meet; its task's class order is the order of the scores.
        normalisation: from the spec's ``input``, or None.
        size: (height, width) from the spec's ``input``, or None.
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is resolved before.
        auto_device: whether nobody named the device: an adapter that can't use it may then answer
            on the cpu, and says so in a note.
        allow_pickle: whether pickled files, which can run any code, may be read.
        trust_remote_code: whether code that comes with a model's files may be run.
        classes: from the spec's ``classes``: the model's own class names in the order of its
            scores, or its names to the data's; None where the spec says nothing.
        remote: from the spec's ``headers`` and ``remote``.
        live: a live object instead of an address.
    """

    name: str
    uri: URI
    base: Path
    data: DataCard
    normalisation: Normalisation | None = None
    size: tuple[int, int] | None = None
    device: str = "cpu"
    auto_device: bool = False
    allow_pickle: bool = False
    trust_remote_code: bool = False
    classes: tuple[str, ...] | Mapping[str, str] | None = None
    remote: Remote = field(default_factory=Remote)
    live: Any = None


@dataclass(frozen=True)
class Sources:
    """What a URI names: files whose digests enter the run id, and what else tells versions apart.

    Attributes:
        files: each exists.
        facts: e.g. the version of the library that bundles the data.
    """

    files: tuple[Path, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Passes:
    """How many samples a model was asked about.

    Attributes:
        forwards: samples that went through it.
        backwards: samples that a gradient came back for.
        watched: whether the passes through `Adapter.module` are counted too.
    """

    forwards: int = 0
    backwards: int = 0
    watched: bool = False


class Adapter(ABC):
    """One model, opened.

    An author writes `sources`, `open` and `_predict`, sets the attributes, and overrides the rest
    where the capabilities say so. Modules that hold adapters are cheap to import: they import the
    model library inside their methods.

    Attributes:
        input_spec: the canonical form in which the model wants a sample.
        capabilities: what it can answer.
        score_kind: what its scores are; must be declared, is never guessed.
        normalisation: what it does to pixels, where that is known.
        device: where it computes: ``cuda``, ``cuda:N``, or ``cpu`` for all else.
        remote: whether it asks over a network; only then do ``headers`` and ``remote`` of the spec
            mean anything.
        libraries: modules that opening or asking such a model imports: a run imports them once for
            all models' processes. Only those that start no thread when they are imported.
    """

    input_spec: InputSpec
    capabilities: frozenset[Capability]
    task: Task
    score_kind: ScoreKind = "probabilities"
    normalisation: Normalisation | None = None
    device: str = "cpu"
    remote: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns what `uri` names, without loading it.

        Raises:
            InputError: if a file is missing or an option is unknown.
        """
        return Sources()

    @classmethod
    def accepts(cls, model: object) -> bool:
        """Whether `open` takes this live object."""
        return False

    @classmethod
    @abstractmethod
    def open(cls, opening: Opening) -> Adapter:
        """Loads the model.

        Raises:
            InputError: one clear sentence; the user's own traceback as its detail.
        """

    @abstractmethod
    def _predict(self, batch: Batch, want: Request) -> Answer:
        """Answers a batch. `want` says what is needed; more may be returned."""

    @final
    def predict(self, batch: Batch, want: Request) -> Answer:
        """Answers a batch and checks the answer.

        Raises:
            OutputError: if rows, classes or finiteness are not as promised.
        """
        answer = self._predict(batch, want)
        self.passes.forwards += len(batch)
        fields = (*self.task.definition.fields, FEATURES)
        for name in sorted(set(answer.names) - {one.name for one in fields}):
            raise OutputError(f"{name}: no field of an answer to {self.task.kind}")
        for one in fields:
            found = answer.column(one.name)
            if found is not None:
                one.require(found, len(batch), self.task)
            elif one.name in want:
                raise OutputError(f"the model was asked for {one.name} and returned none")
        return answer

    @property
    @final
    def passes(self) -> Passes:
        """How many samples were asked about since the model was opened."""
        found: Passes = self.__dict__.setdefault("_passes", Passes())
        return found

    def timed(self, batch: Batch) -> object:
        """Answers a batch for the clock: the unchecked path, synchronised with its device."""
        return self._predict(batch, frozenset())

    def timed_encoded(self, inputs: torch.Tensor) -> object:
        """Answers what `encode` returned for the clock: `timed` without preprocessing and copying.

        Raises:
            InputError: if nothing lies between the samples and the model that could be left out.
        """
        raise InputError(f"{type(self).__name__} takes samples only as they are")

    def timed_raw(self, batch: Batch) -> object:
        """Answers a batch of a detector for the clock: `timed` without post-processing.

        Raises:
            InputError: if post-processing is a part of the model, or there is none.
        """
        raise InputError(f"{type(self).__name__} answers only as a whole")

    def device_seconds(self) -> float | None:
        """Returns what the device took for the latest timed answer, by its own clock.

        None where the device has no clock of its own, as processors don't.
        """
        return None

    def read_timed(self, answer: object) -> Answer | None:
        """Returns what `timed` answered as outputs, after the clock has stopped.

        None where nobody can tell; then the answers of a timed run are not checked.
        """
        return answer if isinstance(answer, Answer) else None

    def fingerprint(self) -> Mapping[str, str] | None:
        """Returns the digests of all that gives the model's answers their meaning, or None.

        Keys such as ``weights``, ``source``, ``preprocessing``: a refusal names the one that
        differs. None means that nobody can tell whether the model is the same: never cached.
        """
        return None

    def unidentified(self) -> str:
        """Returns why there is no fingerprint, to go after a colon; "" where there is one.

        E.g. "attribute layers.3.table is a generator".
        """
        return "" if self.fingerprint() else "the adapter gives no fingerprint"

    def module(self) -> torch.nn.Module:
        """Returns the map from the canonical float32 sample to logits, differentiable.

        The same module each time, so that passes through it can be counted.

        Raises:
            InputError: if the model has no gradients.
        """
        raise InputError(f"{type(self).__name__} has no gradients")

    def encode(self, batch: Batch) -> torch.Tensor:
        """Returns what `module` maps to logits: an image batch is its own encoding.

        Raises:
            InputError: if the model has no gradients.
        """
        raise InputError(f"{type(self).__name__} has no gradients")

    def head(self) -> tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]]:
        """Returns weight (K, D) and bias (K,) of the last layer: logits from `Answer.features`.

        Raises:
            InputError: if the model's last layer is not linear.
        """
        raise InputError(f"{type(self).__name__} has no linear head")

    def neighbours(self, words: Sequence[str], count: int) -> list[list[tuple[str, float]]]:
        """Returns for each word the words whose embeddings are nearest, nearest first.

        Args:
            words: any; for one that the model does not know there are none.
            count: how many at most.

        Returns:
            For each word others with their cosines, in [-1, 1].

        Raises:
            InputError: if the model has no embeddings (capability ``embeddings``).
        """
        raise InputError(f"{type(self).__name__} has no embeddings of words")

    def tree(self) -> Tree:
        """Returns the decision tree that the model is.

        Raises:
            InputError: if it is something else.
        """
        raise InputError(f"{type(self).__name__} is no single decision tree")

    def formula(self) -> Forest | Linear:
        """Returns what the model computes, of images flattened or rows of numbers, in closed form.

        Raises:
            InputError: if it is neither trees nor linear, or how is not known; it says what it is.
        """
        raise InputError(f"{type(self).__name__} tells no formula of its models")

    def with_variant(self, name: str) -> Adapter:
        """Returns another form of the model, e.g. ``bf16``.

        Raises:
            InputError: if there is none of that name.
        """
        raise InputError(f"{type(self).__name__} has no variant {name!r} (known: fp32)")

    def diagnostics(self) -> Mapping[str, Any]:
        """Returns plain facts for the audits, e.g. submodules that are left in train mode."""
        return {}

    def numerics(self) -> Mapping[str, str]:
        """Returns what moves floats: library versions, device kind, precision flags."""
        return {}

    def close(self) -> None:
        """Releases what the model holds."""
