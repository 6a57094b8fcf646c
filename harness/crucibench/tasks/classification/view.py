"""What a classifier answered, under the model's decision rule: what metrics are computed from."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.task import Decision, Task
from crucibench.metrics.probabilistic import (
    SMALLEST,
    by_column,
    log_losses,
    log_odds,
    log_probabilities,
    softmax,
)
from crucibench.metrics.scoring import cluster_codes
from crucibench.util.names import Names

_SUM_TOLERANCE = 1e-3
_RANGE_TOLERANCE = 1e-6

LABELS_ONLY = "the model gives labels only"
NO_PROBABILITIES = "the model gives no probabilities for some sample, or labels only"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ClassView:
    """What a classifier answered to every sample of a role, or at one point of a cell.

    Of a plain pass there are raw scores; of perturbed samples, records keep one score and the loss
    of each (`outcome_columns`), since all scores at every point would fill disks.

    Attributes:
        names: sample ids, n of them.
        targets: class indices, shape (n,); -1 where there is no label.
        predictions: class indices under the decision rule, shape (n,).
        classes: class names.
        clusters: (n,) codes of samples that were drawn together, or None; None of perturbed ones.
        scores: raw scores, shape (n, K), or None.
        probabilities: float64, shape (n, K), rows summing to 1, or None.
        logits: raw logits in float64, or None.
        kept_score: of perturbed samples: the probability of the positive class of two, else of the
            predicted one, (n,); NaN where there is none.
        kept_loss: likewise: -ln of the target's probability.
        why_none: why there are no probabilities; "" where there are.
        positive: the positive class of a binary task, else None.
        threshold: of the positive class's probability.
        at_threshold: whether `predictions` are the threshold's decisions (binary, with scores).
    """

    names: Names
    targets: Ints
    predictions: Ints
    classes: tuple[str, ...]
    clusters: Ints | None = None
    scores: NDArray[np.floating] | None = None
    probabilities: Floats | None = None
    logits: Floats | None = None
    kept_score: Floats | None = None
    kept_loss: Floats | None = None
    why_none: str = LABELS_ONLY
    positive: int | None = None
    threshold: float = 0.5
    at_threshold: bool = False

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def ids(self) -> NDArray[np.object_]:
        """The sample ids, shape (n,)."""
        return self.names.array

    @cached_property
    def shared(self) -> dict[Hashable, Any]:
        """What several metrics compute of these answers, by name; filled by them."""
        return {}

    @cached_property
    def correct(self) -> Bools:
        """Whether each prediction is right, shape (n,)."""
        return np.asarray(self.predictions == self.targets)

    def decided(self, index: int) -> tuple[Bools, Bools]:
        """Returns whether each sample is of a class, and whether it is predicted, (n,) each."""
        return np.asarray(self.targets == index), np.asarray(self.predictions == index)

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
    def score(self) -> Floats:
        """The probability of the positive class of two, else of the predicted one; NaN for none."""
        if self.kept_score is not None:
            return self.kept_score
        if self.probabilities is None:
            return np.full(len(self), np.nan)
        if self.positive is not None:
            return self.probabilities[:, self.positive]
        return _chosen(self.probabilities, self.predictions)

    @cached_property
    def loss(self) -> Floats | None:
        """-ln of the target's probability, shape (n,); None where some sample has none."""
        if self.kept_loss is not None:
            return self.kept_loss if self.confidence is not None else None
        if self.probabilities is None:
            return None
        return log_losses(self.probabilities, self.targets)

    @cached_property
    def confidence(self) -> Floats | None:
        """The probability of the predicted class, shape (n,); None where some sample has none."""
        if self.probabilities is not None:
            return _chosen(self.probabilities, self.predictions)
        if self.kept_score is None or not np.isfinite(self.kept_score).all():
            return None
        if self.positive is None:
            return self.kept_score
        score = self.kept_score
        return np.where(self.predictions == self.positive, score, 1.0 - score)

    @property
    def probabilistic(self) -> bool:
        """Whether there is a probability for every sample."""
        return self.confidence is not None

    @property
    def known_confidence(self) -> Floats:
        """`confidence`, where `probabilistic`.

        Raises:
            ValueError: if some sample has no probability.
        """
        if self.confidence is None:
            raise ValueError(self.why_none)
        return self.confidence

    @property
    def known_loss(self) -> Floats:
        """`loss`, where `probabilistic`.

        Raises:
            ValueError: if some sample has no probability.
        """
        if self.loss is None:
            raise ValueError(self.why_none)
        return self.loss

    @cached_property
    def assurance(self) -> Floats | None:
        """Orders samples as `confidence` does, also where that is rounded to 1, shape (n,)."""
        return None if self.ranking is None else _chosen(self.ranking, self.predictions)


def view_of_pass(
    cell: CellEvidence, task: Task, ids: NDArray[np.object_] | None = None
) -> ClassView:
    """Reads a plain pass; of some of its samples, `ids`, in that order."""
    samples = cell.samples if ids is None else cell.samples.within(ids)
    records = cell.records.aligned(samples.names)
    scores = records.array("scores") if "scores" in records else None
    logits, probabilities, why_none = _probabilities(scores, cell.model.score_kind)
    decision = cell.model.decision if task.binary else None
    decided = None
    if decision is not None and scores is not None and probabilities is not None:
        decided = _decide(scores if logits is None else probabilities, decision)
    predictions = records.array("prediction").astype(np.int64) if decided is None else decided
    return ClassView(
        names=samples.names,
        targets=samples.targets.astype(np.int64),
        predictions=predictions,
        classes=task.classes,
        clusters=cluster_codes(samples.clusters),
        scores=scores,
        probabilities=probabilities,
        logits=logits,
        why_none=why_none,
        positive=None if decision is None else decision.positive,
        threshold=0.5 if decision is None else decision.threshold,
        at_threshold=decided is not None,
    )


def outcome_columns(
    scores: NDArray[np.floating[Any]], score_kind: str, targets: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Returns what records keep of an answer to perturbed samples, n rows each.

    ``prediction``: the class of the highest score. ``score``: the probability of class 1 of two,
    else of the predicted class; NaN where there is none. ``loss``: -ln of the target's probability,
    raised to at least 2.2e-16; NaN likewise.
    """
    matrix = scores.astype(np.float64)
    predicted = scores.argmax(axis=1).astype(np.int32)
    if score_kind == "logits":
        matrix = softmax(matrix) if len(matrix) else matrix
    else:
        off = _no_probabilities(matrix)
        matrix = matrix.clip(0.0, 1.0)
        matrix[off] = np.nan
    rows = np.arange(len(matrix))
    score = matrix[:, 1] if matrix.shape[1] == 2 else matrix[rows, predicted]
    of_target = matrix[rows, targets.astype(np.int64)]
    loss = -np.log(np.maximum(of_target, SMALLEST))
    return {"prediction": predicted, "score": score, "loss": loss}


def view_of_outcomes(
    columns: Mapping[str, NDArray[Any]], cell: CellEvidence, task: Task
) -> ClassView:
    """Reads `outcome_columns`, rows as the cell's samples."""
    decision = cell.model.decision
    score = columns["score"].astype(np.float64)
    predictions = columns["prediction"].astype(np.int64)
    if task.binary:
        score = score if decision.positive == 1 else 1.0 - score
        decided = np.where(score >= decision.threshold, decision.positive, 1 - decision.positive)
        predictions = np.where(np.isfinite(score), decided, predictions)
    return ClassView(
        names=cell.samples.names,
        targets=cell.samples.targets.astype(np.int64),
        predictions=predictions,
        classes=task.classes,
        kept_score=score,
        kept_loss=columns["loss"].astype(np.float64),
        why_none=NO_PROBABILITIES,
        positive=decision.positive if task.binary else None,
        threshold=decision.threshold if task.binary else 0.5,
    )


def _probabilities(
    scores: NDArray[np.floating] | None, kind: str
) -> tuple[Floats | None, Floats | None, str]:
    """Returns logits, probabilities, and why there are none of the latter."""
    if scores is None:
        return None, None, LABELS_ONLY
    if kind == "logits":
        logits = by_column(scores)
        return logits, softmax(logits), ""
    matrix = by_column(scores)
    off = _no_probabilities(matrix)
    if off.any():
        share = 100 * float(off.mean())
        return None, None, f"{share:.3g} % of the rows of scores are no probabilities"
    if len(matrix) and (matrix.min() < 0 or matrix.max() > 1):
        matrix = matrix.clip(0.0, 1.0)
    return None, matrix, ""


def _no_probabilities(matrix: Floats) -> Bools:
    """Returns which rows do not sum to 1, or hold a number outside [0, 1], but for float noise."""
    outside = (matrix < -_RANGE_TOLERANCE) | (matrix > 1 + _RANGE_TOLERANCE)
    return np.asarray(outside.any(axis=1) | (np.abs(matrix.sum(axis=1) - 1) > _SUM_TOLERANCE))


def _decide(probabilities: NDArray[np.floating], decision: Decision) -> Ints:
    """Returns the positive class where its probability is at least the threshold, else the other.

    The threshold is rounded to the precision of the probabilities: one that equals it in the model
    is still equal after the records have rounded it to float32.
    """
    column = probabilities[:, decision.positive]
    above = column >= column.dtype.type(decision.threshold)
    return np.where(above, decision.positive, 1 - decision.positive).astype(np.int64)


def _chosen(matrix: Floats, columns: Ints) -> Floats:
    return np.take_along_axis(matrix, columns[:, None], axis=1)[:, 0]
