"""The kind ``multilabel``."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.evidence import CellEvidence, OutcomeView
from crucibench.contracts.lists import Column, Lists, from_arrow
from crucibench.contracts.section import Section
from crucibench.contracts.task import AnswerField, Decision, Target, Task, TaskKind
from crucibench.tasks.classification.kind import check_scores
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.contracts.rows import Row

_TOLERANCE = 1e-6
UNLABELLED = -1

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class LabelsView:
    """What a model answered of each label to every sample of a role, or at one point of a cell.

    Attributes:
        ids: sample ids, shape (n,).
        targets: which labels each sample has, shape (n, K).
        classes: the labels' names.
        ranking: scores that order samples within a label, shape (n, K).
        probabilities: of each label by itself, shape (n, K); None where scores are none.
        threshold: of a label's probability, from which on it is predicted.
        thresholds: of each label; empty where `threshold` is that of all.
    """

    ids: NDArray[np.object_]
    targets: Bools
    classes: tuple[str, ...]
    ranking: Floats
    probabilities: Floats | None
    threshold: float = 0.5
    thresholds: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def shared(self) -> dict[Hashable, Any]:
        """What several metrics compute of these answers, by name; filled by them."""
        return {}

    @cached_property
    def predictions(self) -> Bools:
        """Which labels are predicted, shape (n, K): those of at least the threshold.

        Scores that are no probabilities are held against it as they are.
        """
        scores = self.ranking if self.probabilities is None else self.probabilities
        return np.asarray(scores >= np.array(self.thresholds or self.threshold))

    def decided(self, index: int) -> tuple[Bools, Bools]:
        """Returns whether each sample has a label, and whether it is predicted, (n,) each."""
        return self.targets[:, index], self.predictions[:, index]

    @cached_property
    def wrong(self) -> Bools:
        """Whether each label of each sample is predicted wrongly, shape (n, K)."""
        return np.asarray(self.predictions != self.targets)


class MultiLabel(TaskKind):
    """Each sample has any number of labels: none, some or all."""

    name: ClassVar[str] = "multilabel"
    fields: ClassVar[tuple[AnswerField, ...]] = (
        AnswerField(name="scores", dimensions=2, check=check_scores),
    )
    label_threshold: ClassVar[bool] = True
    list_targets: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "subset-accuracy", "hamming-loss", "f1-micro-labels", "f1-macro-labels", "f1-samples",
        "average-precision-macro-labels", "auroc-macro-labels", "ranking-average-precision",
        "average-precision-label", "auroc-label", "precision-label", "recall-label", "f1-label",
        "ece-l2-15-equal-mass-debiased-label",
    )  # fmt: skip
    headline: ClassVar[str] = "subset-accuracy"
    group_metrics: ClassVar[tuple[str, ...]] = ("subset-accuracy", "hamming-loss")
    perturbed_metrics: ClassVar[tuple[str, ...]] = (
        "subset-accuracy", "hamming-loss", "f1-macro-labels", "average-precision-macro-labels",
    )  # fmt: skip
    sections: ClassVar[tuple[Section, ...]] = (
        Section(
            title="Accuracy", kind="metrics", scenario="clean",
            metrics=(
                "subset-accuracy", "hamming-loss", "f1-micro-labels", "f1-macro-labels",
                "average-precision-macro-labels", "ranking-average-precision",
            ),
        ),
        Section(
            title="By label", kind="table", scenario="clean", table="per-label",
            note="Support: samples that have the label. Predicted: samples that it is predicted "
            "of.",
        ),
        Section(title="All numbers", kind="metrics", scenario="clean"),
    )  # fmt: skip

    @property
    def unlabelled(self) -> Lists:
        """One label, -1."""
        return Lists.of([1], np.array([UNLABELLED], dtype=np.int64))

    def read_targets(
        self, target: Target, columns: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Column]]:
        """Returns the labels' names, and the indices of each sample's labels, by role.

        A column holds lists of names, or lists of one length of 0 and 1, one for each label.
        """
        lists = {role: _lists(target.name, role, column) for role, column in columns.items()}
        if all(isinstance(one, np.ndarray) for one in lists.values()):
            return _of_flags(target, lists)
        if any(isinstance(one, np.ndarray) for one in lists.values()):
            raise InputError(f"target {target.name!r}: its lists are of one length in some roles")
        # Indices of classes that the feature's type knows, as `datasets` stores them.
        indexed = (
            target.known if all(one.values.dtype.kind in "iu" for one in lists.values()) else ()
        )
        named = {
            role: [indexed[item] if indexed and 0 <= item < len(indexed) else str(item)
                   for item in one.values]
            for role, one in lists.items()
        }  # fmt: skip
        found = set().union(*named.values())
        names = target.classes or target.known or tuple(sorted(found))
        if strange := sorted(found - set(names)):
            raise InputError(f"target {target.name!r}: {unknown('label', strange[0], names)}")
        _require_labels(target.name, names)
        places = {name: index for index, name in enumerate(names)}
        read: dict[str, Column] = {}
        for role, one in lists.items():
            indices = np.array([places[name] for name in named[role]], dtype=np.int64)
            read[role] = _sorted(one.rows, indices, len(one), target.name)
        return tuple(names), read

    def best_answer(self, capabilities: frozenset[str]) -> str:
        """Returns ``scores``."""
        return "scores"

    def prediction(self, answer: Answer) -> NDArray[np.int32]:
        """Returns the label of the highest score, int32: the others depend on the threshold."""
        return np.asarray(answer["scores"].argmax(axis=1), dtype=np.int32)

    def outcome_columns(self, answer: Answer, targets: Any, score_kind: str) -> dict[str, Column]:
        """Returns ``prediction`` and ``scores``, as they were answered: decided as a pass is."""
        return {"prediction": self.prediction(answer), "scores": answer["scores"]}

    def decided(self, cell: CellEvidence, task: Task) -> Decision:
        """Returns the threshold of each label that gives the highest F1, the highest such one.

        It lies halfway to the next lower score. A label that no sample has keeps the declared one.
        """
        ranking, probabilities = judged_scores(
            cell.records.aligned(cell.samples.ids).array("scores"), cell.model.score_kind
        )
        scores = ranking if probabilities is None else probabilities
        truth, declared = flags_of(cell.samples.targets, len(task.classes)), cell.model.decision
        found = [
            _best_threshold(scores[:, k], truth[:, k], declared.threshold)
            for k in range(len(task.classes))
        ]
        return replace(declared, thresholds=tuple(found), chosen_on="")

    def view(
        self, cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None
    ) -> LabelsView:
        """Reads a plain pass."""
        if ids is None and ("view", task) in cell.shared:
            kept: LabelsView = cell.shared["view", task]
            return kept
        samples = cell.samples if ids is None else cell.samples.within(ids)
        scores = cell.records.aligned(samples.ids).array("scores")
        found = _view(samples, scores, cell.model.score_kind, cell, task)
        if ids is None:
            cell.shared["view", task] = found
        return found

    def view_of_outcomes(
        self, columns: Mapping[str, Any], cell: CellEvidence, task: Task
    ) -> LabelsView:
        """Reads the scores that records of perturbed samples keep."""
        return _view(cell.samples, columns["scores"], cell.model.score_kind, cell, task)

    def quality(self, view: LabelsView) -> Floats:
        """Returns 1 where every label is right, else 0."""
        return np.asarray(~view.wrong.any(axis=1), dtype=np.float64)

    def by_sample(self, view: LabelsView) -> Sequence[tuple[NDArray[Any], None]]:
        """Returns whether all labels are right, and the share that is wrong."""
        return [(~view.wrong.any(axis=1), None), (view.wrong.mean(axis=1), None)]

    def changed(self, first: LabelsView, second: LabelsView) -> Bools:
        """Returns where any label is predicted otherwise."""
        return np.asarray((first.predictions != second.predictions).any(axis=1))

    def baselines(
        self, targets: Any, task: Task, uniform: NDArray[np.floating[Any]]
    ) -> Mapping[str, Answer]:
        """Returns the labels' shares, the same for every sample."""
        present = flags_of(targets, len(task.classes))
        known = targets.lengths == 0
        known[targets.rows[targets.values >= 0]] = True
        if not known.any():
            return {}
        shares = present[known].mean(axis=0).astype(np.float32)
        return {"label shares": Answer(scores=np.tile(shares, (len(targets), 1)))}

    def tables(
        self, view: LabelsView, rows: Sequence[Row], level: float
    ) -> dict[str, pd.DataFrame]:
        """Returns ``per-label``."""
        import pandas as pd

        values = {(row.metric, row.group): row.value for row in rows}
        table = pd.DataFrame(
            {
                "label": view.classes,
                "support": view.targets.sum(axis=0),
                "predicted": view.predictions.sum(axis=0),
                "threshold": view.thresholds or view.threshold,
            }
        )
        for name in ("precision", "recall", "f1", "average-precision", "auroc"):
            table[name.replace("-", "_")] = [
                values.get((f"{name}-label", label)) for label in view.classes
            ]
        return {"per-label": table}

    def outcomes(self, view: LabelsView) -> OutcomeView:
        """Returns how many labels are predicted, as prediction, and whether all are right."""
        point = np.full(len(view), "", dtype=object)
        count = view.predictions.sum(axis=1)
        return OutcomeView(view.ids, point, count, view.ranking.max(axis=1), self.quality(view))


def _best_threshold(scores: Floats, truth: Bools, otherwise: float) -> float:
    if not truth.any():
        return otherwise
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] < ranked[:-1], True)  # of equal scores all are predicted, or none
    hits, predicted = np.cumsum(truth[order])[last], np.arange(1, len(scores) + 1)[last]
    at = int(np.argmax(2 * hits / (predicted + truth.sum())))
    levels = ranked[last]
    below = levels[at + 1] if at + 1 < len(levels) else levels[at]
    return float((levels[at] + below) / 2)


def flags_of(targets: Lists, labels: int) -> Bools:
    """Returns which labels each sample has, shape (n, labels); none where it is unlabelled."""
    found = np.zeros((len(targets), labels), dtype=np.bool_)
    there = targets.values >= 0
    found[targets.rows[there], targets.values[there]] = True
    return found


def _view(
    samples: Any, scores: NDArray[Any], score_kind: str, cell: CellEvidence, task: Task
) -> LabelsView:
    ranking, probabilities = judged_scores(scores, score_kind)
    decision = cell.model.decision
    if decision.chosen_on:
        raise ValueError(f"thresholds of {cell.model.name!r} are not chosen yet")
    return LabelsView(
        ids=samples.ids, targets=flags_of(samples.targets, len(task.classes)),
        classes=task.classes, ranking=ranking, probabilities=probabilities,
        threshold=decision.threshold, thresholds=tuple(decision.thresholds),
    )  # fmt: skip


def judged_scores(scores: NDArray[Any], kind: str) -> tuple[Floats, Floats | None]:
    """Returns scores that rank, and each label's probability, where they say one."""
    matrix = scores.astype(np.float64)
    if kind == "logits":
        return matrix, 1.0 / (1.0 + np.exp(-np.clip(matrix, -700.0, 700.0)))
    if len(matrix) and not (matrix.min() >= -_TOLERANCE and matrix.max() <= 1 + _TOLERANCE):
        return matrix, None
    return matrix, matrix.clip(0.0, 1.0)


def _lists(name: str, role: str, column: Any) -> Any:
    """Returns an Arrow column's lists, or its 0s and 1s as a matrix."""
    kind = column.type
    if not pa.types.is_nested(kind):
        got = column[0].as_py() if len(column) else kind
        raise InputError(
            f"target {name!r}: expected a list of labels for each sample, or one column a label "
            f"(target=A,B,C), got {got!r} ({role} row 0)"
        )
    return from_arrow(column)


def _of_flags(
    target: Target, matrices: Mapping[str, NDArray[Any]]
) -> tuple[tuple[str, ...], dict[str, Column]]:
    widths = {matrix.shape[1] for matrix in matrices.values()}
    if len(widths) > 1:
        raise InputError(f"target {target.name!r}: {min(widths)} labels in one role, {max(widths)} "
                         "in another")  # fmt: skip
    (width,) = widths
    names = target.classes or target.known or tuple(str(index) for index in range(width))
    _require_labels(target.name, names)
    if len(names) != width:
        raise InputError(f"target {target.name!r}: {len(names)} labels are named, it has {width}")
    read: dict[str, Column] = {}
    for role, matrix in matrices.items():
        flags = matrix.astype(np.float64)
        bad = (flags != 0) & (flags != 1)
        if bad.any():
            row, at = np.argwhere(bad)[0].tolist()
            raise InputError(
                f"target {target.name!r}: expected 0 or 1 for each label, got "
                f"{matrix[row, at].item()!r} for {names[at]!r} ({role} row {row})"
            )
        rows, indices = np.nonzero(flags)
        read[role] = Lists.of(np.bincount(rows, minlength=len(flags)), indices.astype(np.int64))
    return tuple(names), read


def _sorted(rows: NDArray[np.int64], labels: NDArray[np.int64], n: int, name: str) -> Lists:
    """Returns each sample's labels in their order.

    Raises:
        InputError: if a sample has one twice.
    """
    order = np.lexsort((labels, rows))
    rows, labels = rows[order], labels[order]
    twice = np.flatnonzero((rows[1:] == rows[:-1]) & (labels[1:] == labels[:-1]))
    if len(twice):
        raise InputError(f"target {name!r}: row {rows[twice[0]]} has a label twice")
    return Lists.of(np.bincount(rows, minlength=n), labels)


def _require_labels(name: str, names: Sequence[str]) -> None:
    if len(names) < 2:
        raise InputError(
            f"target {name!r}: multi-label needs at least two labels, got {len(names)}"
        )
