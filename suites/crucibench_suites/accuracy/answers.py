"""A pass's records as the task's decision rule sees them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Records
from crucibench.contracts.task import Decision, Task
from crucibench.metrics.probabilistic import log_odds, log_probabilities, softmax

_SUM_TOLERANCE = 1e-3
_RANGE_TOLERANCE = 1e-6

LABELS_ONLY = "the model gives labels only"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a classifier answered to every sample of a role.

    Attributes:
        ids: sample ids, shape (n,).
        targets: class indices, shape (n,).
        predictions: class indices under the decision rule, shape (n,).
        classes: class names.
        clusters: (n,) codes of samples that were drawn together, or None.
        scores: raw scores, shape (n, K), or None.
        probabilities: float64, shape (n, K), rows summing to 1, or None.
        logits: raw logits in float64, or None.
        why_none: why there are no probabilities; "" where there are.
        positive: the positive class of a binary task, else None.
        threshold: of the positive class's probability.
        at_threshold: whether `predictions` are the threshold's decisions (binary, with scores).
    """

    ids: NDArray[np.object_]
    targets: Ints
    predictions: Ints
    classes: tuple[str, ...]
    clusters: Ints | None = None
    scores: NDArray[np.floating] | None = None
    probabilities: Floats | None = None
    logits: Floats | None = None
    why_none: str = LABELS_ONLY
    positive: int | None = None
    threshold: float = 0.5
    at_threshold: bool = False

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def correct(self) -> Bools:
        """Whether each prediction is right, shape (n,)."""
        return np.asarray(self.predictions == self.targets)

    @cached_property
    def positives(self) -> Bools:
        """Binary: whether each target is positive, shape (n,)."""
        return np.asarray(self.targets == self.positive)

    @cached_property
    def ranking(self) -> Floats | None:
        """A column per class that ranks samples as its probability does, but never saturates."""
        return self.probabilities if self.logits is None else log_odds(self.logits)

    @cached_property
    def log_scores(self) -> Floats | None:
        """Logits, or the logarithms of probabilities: what a temperature divides."""
        if self.logits is not None or self.probabilities is None:
            return self.logits
        return log_probabilities(self.probabilities)

    @cached_property
    def confidence(self) -> Floats | None:
        """The probability of the predicted class, shape (n,)."""
        return None if self.probabilities is None else _chosen(self.probabilities, self.predictions)

    @cached_property
    def assurance(self) -> Floats | None:
        """Orders samples as `confidence` does, also where that is rounded to 1, shape (n,)."""
        return None if self.ranking is None else _chosen(self.ranking, self.predictions)


def read_answers(cell: CellEvidence, task: Task) -> Answers:
    """Reads a pass over a classification role."""
    records = cell.records.aligned(cell.samples.ids)
    scores = records.array("scores") if "scores" in records else None
    logits, probabilities, why_none = _probabilities(scores, cell.model.score_kind)
    decision = cell.model.decision if task.binary else None
    decided = None
    if decision is not None and scores is not None and probabilities is not None:
        decided = _decide(scores if logits is None else probabilities, decision)
    predictions = records.array("prediction").astype(np.int64) if decided is None else decided
    return Answers(
        ids=cell.samples.ids,
        targets=cell.samples.targets.astype(np.int64),
        predictions=predictions,
        classes=task.classes,
        clusters=cluster_codes(cell.samples.clusters),
        scores=scores,
        probabilities=probabilities,
        logits=logits,
        why_none=why_none,
        positive=None if decision is None else decision.positive,
        threshold=0.5 if decision is None else decision.threshold,
        at_threshold=decided is not None,
    )


def read_values(records: Records, ids: NDArray[np.object_]) -> Floats:
    """Returns the predictions of a pass over a regression role, shape (n,)."""
    return records.aligned(ids).array("prediction").astype(np.float64)


def cluster_codes(clusters: NDArray[np.object_] | None) -> Ints | None:
    """Returns cluster names as codes in the order of the names, shape (n,)."""
    if clusters is None:
        return None
    codes, _ = pd.factorize(np.asarray(clusters, dtype=object), sort=True)
    return np.asarray(codes, dtype=np.int64)


def _probabilities(
    scores: NDArray[np.floating] | None, kind: str
) -> tuple[Floats | None, Floats | None, str]:
    """Returns logits, probabilities, and why there are none of the latter."""
    if scores is None:
        return None, None, LABELS_ONLY
    if kind == "logits":
        logits = scores.astype(np.float64)
        return logits, softmax(logits), ""
    matrix = scores.astype(np.float64)
    if len(matrix):
        off = np.abs(matrix.sum(axis=1) - 1) > _SUM_TOLERANCE
        low, high = float(matrix.min()), float(matrix.max())
        if low < -_RANGE_TOLERANCE or high > 1 + _RANGE_TOLERANCE:
            outside = (matrix < -_RANGE_TOLERANCE) | (matrix > 1 + _RANGE_TOLERANCE)
            off |= outside.any(axis=1)
        if off.any():
            share = 100 * float(off.mean())
            return None, None, f"{share:.3g} % of the rows of scores are no probabilities"
        if low < 0 or high > 1:
            matrix = matrix.clip(0.0, 1.0)
    return None, matrix, ""


def _decide(probabilities: NDArray[np.floating], decision: Decision) -> Ints:
    """Returns the positive class where its probability is at least the threshold, else the other.

    The threshold is rounded to the precision of the probabilities: one that equals it in the model
    is still equal after the records have rounded it to float32.
    """
    column = probabilities[:, decision.positive]
    said = column >= column.dtype.type(decision.threshold)
    return np.where(said, decision.positive, 1 - decision.positive).astype(np.int64)


def _chosen(matrix: Floats, columns: Ints) -> Floats:
    return np.take_along_axis(matrix, columns[:, None], axis=1)[:, 0]
