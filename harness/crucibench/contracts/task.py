"""What is asked of a model: the kind of task, its modality and its classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.lists import Column, Lists
from crucibench.util.errors import CrucibenchError
from crucibench.util.registry import Catalogue, OpenName, Registry

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.contracts.adapter import Answer
    from crucibench.contracts.evidence import CellEvidence, OutcomeView
    from crucibench.contracts.rows import Row
    from crucibench.contracts.section import Section


class Modality(OpenName):
    """The form of one sample: one of these, or registered as ``crucibench.modalities``."""

    what = "modality"

    IMAGE: ClassVar[Modality]
    TEXT: ClassVar[Modality]
    TABLE: ClassVar[Modality]

    @classmethod
    def added(cls) -> Iterable[str]:
        """Returns the names of the registered modalities."""
        return Registry[Any]("crucibench.modalities", cls.what, object).names()


Modality.IMAGE = Modality.declare("image")
Modality.TEXT = Modality.declare("text")
Modality.TABLE = Modality.declare("table")


class OutputError(CrucibenchError):
    """A model's answer broke the contract: the cell fails."""


class NonFiniteError(OutputError):
    """A model answered NaN or infinity."""


@dataclass(frozen=True, kw_only=True)
class AnswerField:
    """One part of an answer.

    Attributes:
        name: e.g. ``scores``; also the capability that a model needs to give it.
        dimensions: of the array, 1 for (n,), 2 for (n, ...).
        check: raises `OutputError` where the array of n rows breaks a promise beyond its shape; of
            lists it gets the values of all rows.
        lists: whether it is `Lists`, one list of any length a sample; `dimensions` are those of
            the values then.
        pixels: whether values are places in an image, (m, 2 j) as x, y, x, y (a box: left, top,
            right, bottom), in pixels of the sample as the data has it: an adapter that resizes
            takes them back.
    """

    name: str
    dimensions: int
    check: Callable[[NDArray[Any], Task], None]
    lists: bool = False
    pixels: bool = False

    def require(self, answer: Column, rows: int, task: Task) -> None:
        """Checks an answer to `rows` samples.

        Raises:
            OutputError: if its shape or content is not as promised.
        """
        if isinstance(answer, Lists) != self.lists or (self.lists and len(answer) != rows):
            what = f"Lists of {rows} rows" if self.lists else "an array"
            raise OutputError(f"{self.name}: expected {what}, got {type(answer).__name__}")
        array = answer.values if isinstance(answer, Lists) else answer
        if array.ndim != self.dimensions or not (self.lists or len(array) == rows):
            shape = f"({rows}, ...)" if self.dimensions > 1 else f"({rows},)"
            raise OutputError(f"{self.name}: expected shape {shape}, got {array.shape}")
        self.check(array, task)


def require_finite(name: str, array: NDArray[Any]) -> None:
    """Checks that no number is NaN or infinite.

    Raises:
        NonFiniteError: if one is.
    """
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
        raise NonFiniteError(f"{name}: {bad} of {len(array)} rows in a batch are not finite")


FEATURES = AnswerField(
    name="features", dimensions=2, check=lambda array, _: require_finite("features", array)
)
"""The input of a model's last linear layer: a model of any kind may give it."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a data set declares of its target column.

    Attributes:
        name: of the column.
        modality: of the samples.
        classes: the class names that the user gives, in order, or None.
        known: the class names that the source itself knows, or None.
    """

    name: str
    modality: Modality
    classes: tuple[str, ...] | None = None
    known: tuple[str, ...] | None = None


class TaskKind(ABC):
    """A kind of task: how targets are read and stored, and how an answer looks and is judged.

    Registered in the entry-point group ``crucibench.tasks``; users name it as the data's ``task``.

    Attributes:
        name: as users type it.
        version: raised whenever the same records would mean something else.
        fields: what an answer may hold.
        one_class: whether targets and predictions are each one of the data's classes.
        one_number: whether targets and predictions are each one number.
        label_threshold: whether each label is predicted by itself from a probability on, which a
            spec may declare (``decision: {threshold: 0.3}``).
        list_targets: whether a target may be a list, so that `read_targets` gets Arrow lists and
            returns `Lists`.
        metrics: names of the registered metrics that a clean pass is judged by, in the order of
            the report.
        headline: the id of the metric that stands for a model's quality: a mean over samples.
        perturbed_metrics: those of `metrics` that perturbed samples are judged by where targets
            are neither classes nor numbers; empty for the headline alone.
        group_metrics: ids of the metrics of `by_sample`; empty for the headline alone.
        sections: of the report, in place of those of a suite that leaves them to the task
            (`Suite.sections_by_task`); empty for the suite's own.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    fields: ClassVar[tuple[AnswerField, ...]]
    one_class: ClassVar[bool] = False
    one_number: ClassVar[bool] = False
    label_threshold: ClassVar[bool] = False
    list_targets: ClassVar[bool] = False
    metrics: ClassVar[tuple[str, ...]]
    headline: ClassVar[str]
    perturbed_metrics: ClassVar[tuple[str, ...]] = ()
    group_metrics: ClassVar[tuple[str, ...]] = ()
    sections: ClassVar[tuple[Section, ...]] = ()

    @property
    @abstractmethod
    def unlabelled(self) -> Any:
        """The stored target of a sample without a label: a NumPy scalar, or `Lists` of one row."""

    @abstractmethod
    def read_targets(
        self, target: Target, columns: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], Mapping[str, Column]]:
        """Reads target columns.

        Args:
            target: what was declared of them.
            columns: an Arrow array by role, without missing values.

        Returns:
            The class names, empty where there are none, and the targets by role.

        Raises:
            InputError: if a value is none of the kind.
        """

    def strata(self, targets: Any) -> NDArray[np.int64] | None:
        """Returns codes within which subsets are drawn, shape (n,), or None for one stratum."""
        return None

    @abstractmethod
    def best_answer(self, capabilities: frozenset[str]) -> str:
        """Returns the field to ask for where nothing particular is needed."""

    @abstractmethod
    def prediction(self, answer: Answer) -> Column:
        """Returns the column ``prediction`` of a pass's records, n rows."""

    def numbers(self, answer: Answer) -> NDArray[np.float64]:
        """Returns numbers that tell two answers apart, a row a sample, shape (n, k).

        They are held against each other up to float noise. Here, of the first field that there is.
        """
        names = [field.name for field in self.fields if field.name in answer.names]
        column = answer.column(names[0])
        if isinstance(column, Lists):
            return column.summary()
        array = answer[names[0]]
        return array.reshape(len(array), -1).astype(np.float64)

    def decided(self, cell: CellEvidence, task: Task) -> Decision:
        """Returns the model's decision with the thresholds that suit a pass over another role.

        Asked where a spec says so of labels with thresholds of their own (`label_threshold`).
        """
        raise NotImplementedError

    def judged(self, answer: Answer, targets: Any, score_kind: str) -> Mapping[str, Column]:
        """Returns what records of a pass keep of an answer held against targets, n rows each.

        What metrics need where that is less than targets and ``prediction`` say together, as with
        boxes. Default nothing.
        """
        return {}

    def moved(
        self, targets: Any, maps: NDArray[np.float64], sides: tuple[int, int],
        stored: Sequence[tuple[int, int]],
    ) -> Any:  # fmt: skip
        """Returns targets of images whose content moves, n rows: the same unless they are places.

        Args:
            targets: of the images as they are.
            maps: from old to new (x, y) in canonical pixels, (n, 2, 3), as `Corruption.moves`.
            sides: canonical height and width.
            stored: of each image as it is stored, which targets are in pixels of.
        """
        return targets

    def packed(self, targets: Any) -> Any:
        """Returns targets as packs hold them, n rows: without what no comparison reads.

        Of what is packed already, the same.
        """
        return targets

    @abstractmethod
    def outcome_columns(
        self, answer: Answer, targets: Any, score_kind: str
    ) -> Mapping[str, Column]:
        """Returns what records of a perturbed sample keep of an answer, n rows each."""

    @abstractmethod
    def view(self, cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None) -> Any:
        """Reads a plain pass as metrics see it.

        Args:
            cell: the pass.
            task: of the data.
            ids: some of the cell's samples, in the order wanted; None for all, in theirs.
        """

    @abstractmethod
    def view_of_outcomes(self, columns: Mapping[str, Any], cell: CellEvidence, task: Task) -> Any:
        """Reads `outcome_columns`, rows as the cell's samples, as metrics see them."""

    @abstractmethod
    def quality(self, view: Any) -> NDArray[np.float64]:
        """Returns of each sample what the headline metric is the mean of, shape (n,)."""

    def by_sample(self, view: Any) -> Sequence[tuple[NDArray[Any], NDArray[np.bool_] | None]]:
        """Returns what `group_metrics` are means of, by which groups of samples are compared.

        Of each the values of samples, shape (n,), bool where it is a proportion, and which samples
        it is a mean over, None for all. Asked where targets are neither classes nor numbers.
        """
        return [(self.quality(view), None)]

    def changed(self, first: Any, second: Any) -> NDArray[np.bool_] | None:
        """Returns which samples two views answer otherwise, shape (n,); None where none are alike.

        What is a flip of an answer, e.g. any label of several; default None.
        """
        return None

    def baselines(
        self, targets: Any, task: Task, uniform: NDArray[np.floating[Any]]
    ) -> Mapping[str, Answer]:
        """Returns what trivial predictors answer, by name: those that look at no input.

        Args:
            targets: of the samples, n rows.
            task: of the data.
            uniform: draws in [0, 1), shape (n,).
        """
        return {}

    def tables(self, view: Any, rows: Sequence[Row], level: float) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots of a clean pass, by name.

        Args:
            view: of the pass.
            rows: the rows of `metrics`.
            level: of intervals.
        """
        return {}

    @abstractmethod
    def outcomes(self, view: Any) -> OutcomeView:
        """Returns the uniform view of a view's samples that bias, compare and gate read."""


@cache
def task_kinds() -> Catalogue[TaskKind]:
    """Returns the registry of task kinds."""
    return Catalogue("crucibench.tasks", "task", TaskKind)


def task_name(name: str) -> str:
    """Returns the name of a registered task kind.

    Raises:
        InputError: if none is registered under it; the sentence names the nearest.
    """
    task_kinds().get(name)
    return name


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a data set asks.

    Attributes:
        kind: the name of a registered `TaskKind`, e.g. ``classification``.
        modality: the form of a sample.
        classes: class names in index order; empty where targets are no classes.
    """

    kind: str
    modality: Modality
    classes: tuple[str, ...] = ()

    @property
    def definition(self) -> TaskKind:
        """The task's kind.

        Raises:
            InputError: if no installed package registers it.
        """
        return task_kinds().get(self.kind)

    @property
    def identity(self) -> str:
        """Its kind and version, as comparison keys hold it."""
        return f"{self.kind}@{self.definition.version}"

    @property
    def one_class(self) -> bool:
        """Whether targets and predictions are each one of `classes`."""
        return self.definition.one_class

    @property
    def one_number(self) -> bool:
        """Whether targets and predictions are each one number."""
        return self.definition.one_number

    @property
    def binary(self) -> bool:
        """Whether each sample has one of exactly two classes."""
        return len(self.classes) == 2 and self.one_class

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as it is stored."""
        return {"kind": self.kind, "modality": str(self.modality), "classes": list(self.classes)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Task:
        """The inverse of `as_dict`."""
        return cls(
            kind=data["kind"],
            modality=Modality(data["modality"]),
            classes=tuple(data["classes"]),
        )


@dataclass(frozen=True, kw_only=True)
class Decision:
    """How a binary model's score becomes a decision.

    Attributes:
        positive: the index of the positive class.
        threshold: the decision is positive where its probability is at least this.
        thresholds: likewise of each of several labels, in the order of the classes; empty where
            `threshold` is that of all.
        unsure: the index of a class that stands for no answer; -1 where none does.
        least: the probability of the best class below which there is no answer; 0 for none.
        chosen_on: the role whose pass `thresholds` are chosen on (`TaskKind.decided`); "" where
            they are declared.
    """

    positive: int = 1
    threshold: float = 0.5
    thresholds: tuple[float, ...] = ()
    unsure: int = -1
    least: float = 0.0
    chosen_on: str = ""
