"""The kind ``classification``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Answer
from crucibench.contracts.evidence import CellEvidence, OutcomeView
from crucibench.contracts.task import (
    AnswerField,
    OutputError,
    Target,
    Task,
    TaskKind,
    require_finite,
)

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.contracts.rows import Row

# What computes is imported where it is needed: reading a task must stay cheap.


_MOST_SCORES = 10**7
"""Scores of a baseline that are worth their memory."""


def check_scores(scores: NDArray[Any], task: Task) -> None:
    """Checks that there is a finite score for each class.

    Raises:
        OutputError: if not.
    """
    if scores.shape[1] != len(task.classes):
        raise OutputError(
            f"scores: the data has {len(task.classes)} classes, "
            f"the model returned {scores.shape[1]} columns"
        )
    require_finite("scores", scores)


def _check_labels(labels: NDArray[Any], task: Task) -> None:
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(task.classes)):
        raise OutputError(
            f"labels: expected class indices 0 to {len(task.classes) - 1}, "
            f"got {labels.min()} to {labels.max()}"
        )


class Classification(TaskKind):
    """Each sample has one of the data's classes."""

    name: ClassVar[str] = "classification"
    fields: ClassVar[tuple[AnswerField, ...]] = (
        AnswerField(name="scores", dimensions=2, check=check_scores),
        AnswerField(name="labels", dimensions=1, check=_check_labels),
    )
    one_class: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        *("top-1", "top-5", "balanced-accuracy", "f1-macro", "f1-weighted", "mcc", "fpr"),
        *("auroc", "average-precision", "recall-at-precision-90", "recall-at-precision-99"),
        *("auroc-ovr-macro", "average-precision-ovr-macro", "log-loss", "brier", "brier-sum"),
        *(
            f"{stem}-{view}"
            for view in ("top-label", "positive-class")
            for stem in (
                "ece-15-equal-width", "ece-15-equal-mass", "ece-l2-15-equal-mass-debiased",
                "mce-15-equal-width",
            )
        ),
        *("ece-15-equal-width-classwise", "aurc", "e-aurc"),
        *("accuracy-at-coverage-80", "accuracy-at-coverage-90", "accuracy-at-coverage-95"),
        *("precision", "recall", "f1"),
    )  # fmt: skip
    headline: ClassVar[str] = "top-1"

    @property
    def unlabelled(self) -> np.int64:
        """-1."""
        return np.int64(-1)

    def read_targets(
        self, target: Target, columns: Mapping[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, NDArray[Any]]]:
        """Returns the classes, and class indices, int64, by role."""
        from crucibench.tasks.classification.targets import read_classes

        return read_classes(target, columns)

    def strata(self, targets: NDArray[Any]) -> NDArray[np.int64]:
        """Returns the classes: subsets keep their shares."""
        return targets.astype(np.int64, copy=False)

    def best_answer(self, capabilities: frozenset[str]) -> str:
        """Returns ``scores`` where the model gives them, else ``labels``."""
        return "scores" if "scores" in capabilities else "labels"

    def prediction(self, answer: Answer) -> NDArray[np.int32]:
        """Returns class indices, int32: the first of the highest scores."""
        if answer.scores is None:
            return answer["labels"].astype(np.int32)
        return np.asarray(answer.scores.argmax(axis=1), dtype=np.int32)

    def outcome_columns(
        self, answer: Answer, targets: NDArray[Any], score_kind: str
    ) -> dict[str, NDArray[Any]]:
        """Returns ``prediction``, ``score`` and ``loss``; NaN where a model gives labels alone."""
        from crucibench.tasks.classification.view import outcome_columns

        if answer.scores is None:
            missing = np.full(len(answer["labels"]), np.nan)
            return {
                "prediction": self.prediction(answer), "score": missing, "loss": missing.copy()
            }  # fmt: skip
        return outcome_columns(answer.scores, score_kind, targets)

    def view(self, cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None) -> Any:
        """Returns a `crucibench.tasks.classification.view.ClassView` of a plain pass."""
        from crucibench.tasks.classification.view import view_of_pass

        if ids is not None:
            return view_of_pass(cell, task, ids)
        if ("view", task) not in cell.shared:
            cell.shared["view", task] = view_of_pass(cell, task)
        return cell.shared["view", task]

    def view_of_outcomes(
        self, columns: Mapping[str, NDArray[Any]], cell: CellEvidence, task: Task
    ) -> Any:
        """Returns a `ClassView` of perturbed samples."""
        from crucibench.tasks.classification.view import view_of_outcomes

        return view_of_outcomes(columns, cell, task)

    def quality(self, view: Any) -> NDArray[np.float64]:
        """Returns 1 for a right prediction, 0 for a wrong one."""
        return np.asarray(view.correct, dtype=np.float64)

    def baselines(
        self, targets: NDArray[Any], task: Task, uniform: NDArray[np.floating[Any]]
    ) -> Mapping[str, Answer]:
        """Returns the majority class with the classes' shares as its scores, and a class drawn.

        As scikit-learn's DummyClassifier, strategies ``prior`` and ``stratified``; of the drawn
        class there are labels alone, since a probability of 0 has no finite log loss.
        """
        counts = np.bincount(targets[targets >= 0], minlength=len(task.classes))
        if not counts.sum():
            return {}
        shares = counts / counts.sum()
        drawn = np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right")
        n = len(targets)
        majority = (
            Answer(scores=np.tile(shares.astype(np.float32), (n, 1)))
            if n * len(shares) <= _MOST_SCORES
            else Answer(labels=np.full(n, counts.argmax()))
        )
        return {"majority class": majority, "stratified random": Answer(labels=drawn)}

    def tables(self, view: Any, rows: Sequence[Row], level: float) -> dict[str, pd.DataFrame]:
        """Returns ``per-class``, ``confusion``, ``reliability``, ``risk-coverage``, ``roc``."""
        from crucibench.tasks.classification.tables import class_tables, score_tables

        return {**class_tables(view, rows), **score_tables(view, level)}

    def outcomes(self, view: Any) -> OutcomeView:
        """Returns one outcome a sample, under the model's decision rule."""
        point = np.full(len(view), "", dtype=object)
        correct = view.correct.astype(np.float64)
        return OutcomeView(view.ids, point, view.predictions, view.score, correct)
