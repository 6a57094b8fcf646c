"""What a model answered to shifted samples: as records, and as the decision rule sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Records
from crucibench.contracts.task import Decision, Task
from crucibench.metrics.probabilistic import SMALLEST, softmax

_SUM_TOLERANCE = 1e-3
_RANGE_TOLERANCE = 1e-6

NO_PROBABILITIES = "the model gives no probabilities for some sample, or labels only"

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def ask(adapter: Adapter, batch: Batch) -> Answer:
    """Asks for scores, or for labels where a model gives no more."""
    want = "scores" if Capability.SCORES in adapter.capabilities else "labels"
    return adapter.predict(batch, frozenset({want}))


def answer_columns(outputs: Answer, score_kind: str, targets: NDArray[Any]) -> dict[str, Any]:
    """Returns what records keep of an answer, a row a sample.

    ``prediction``: the class of the highest score. ``score``: the probability of class 1 of two,
    else of the predicted class; NaN where there is none. ``loss``: -ln of the target's probability,
    raised to at least 2.2e-16; NaN likewise. All K scores of every sample, corruption and severity
    would fill disks.
    """
    if outputs.scores is None:
        if outputs.labels is None:
            raise AssertionError("Adapter.predict lets no empty answer through")
        missing = np.full(len(outputs.labels), np.nan)
        return {
            "prediction": outputs.labels.astype(np.int32), "score": missing, "loss": missing.copy()
        }  # fmt: skip
    return score_columns(outputs.scores, score_kind, targets)


def score_columns(
    scores: NDArray[np.floating[Any]], score_kind: str, targets: NDArray[Any]
) -> dict[str, Any]:
    """Returns `answer_columns` of raw scores, shape (n, K)."""
    matrix = scores.astype(np.float64)
    said = scores.argmax(axis=1).astype(np.int32)
    if score_kind == "logits":
        matrix = softmax(matrix) if len(matrix) else matrix
    else:
        outside = (matrix < -_RANGE_TOLERANCE) | (matrix > 1 + _RANGE_TOLERANCE)
        off = outside.any(axis=1) | (np.abs(matrix.sum(axis=1) - 1) > _SUM_TOLERANCE)
        matrix = matrix.clip(0.0, 1.0)
        matrix[off] = np.nan
    rows = np.arange(len(matrix))
    score = matrix[:, 1] if matrix.shape[1] == 2 else matrix[rows, said]
    of_target = matrix[rows, targets.astype(np.int64)]
    loss = -np.log(np.maximum(of_target, SMALLEST))
    return {"prediction": said, "score": score, "loss": loss}


@dataclass(frozen=True)
class Answers:
    """What was answered to every sample at one point, rows as the samples.

    Attributes:
        targets: class indices, shape (n,).
        predictions: class indices under the decision rule, shape (n,).
        score: the probability of the positive class of two, else of the predicted one, (n,).
        loss: shape (n,).
        binary: whether there are two classes.
        positive: the positive class of two.
    """

    targets: Ints
    predictions: Ints
    score: Floats
    loss: Floats
    binary: bool
    positive: int

    def __len__(self) -> int:
        return len(self.targets)

    @cached_property
    def correct(self) -> Bools:
        """Whether each prediction is right."""
        return np.asarray(self.predictions == self.targets)

    @cached_property
    def probabilistic(self) -> bool:
        """Whether there is a probability for every sample."""
        return bool(np.isfinite(self.score).all())

    @cached_property
    def confidence(self) -> Floats:
        """The probability of the predicted class, shape (n,)."""
        if not self.binary:
            return self.score
        return np.where(self.predictions == self.positive, self.score, 1.0 - self.score)


def read_answers(
    columns: Records | Mapping[str, Any], targets: NDArray[Any], task: Task, decision: Decision
) -> Answers:
    """Reads columns of `answer_columns`, rows as `targets`."""

    def column(name: str) -> NDArray[Any]:
        return columns.array(name) if isinstance(columns, Records) else np.asarray(columns[name])

    score = column("score").astype(np.float64)
    predictions = column("prediction").astype(np.int64)
    if task.binary:
        score = score if decision.positive == 1 else 1.0 - score
        decided = np.where(score >= decision.threshold, decision.positive, 1 - decision.positive)
        predictions = np.where(np.isfinite(score), decided, predictions)
    return Answers(
        targets.astype(np.int64), predictions, score, column("loss").astype(np.float64),
        task.binary, decision.positive,
    )  # fmt: skip


def clean_answers(cell: CellEvidence, ids: NDArray[np.object_], task: Task) -> Answers:
    """Reads a plain pass over a role that holds the samples `ids`, in their order."""
    targets = cell.samples.targets[pd.Index(cell.samples.ids).get_indexer(pd.Index(ids))]
    records = cell.records.aligned(ids) if len(ids) == len(cell.records) else _within(cell, ids)
    columns: Mapping[str, Any]
    if "scores" in records:
        columns = score_columns(records.array("scores"), cell.model.score_kind, targets)
    else:
        missing = np.full(len(ids), np.nan)
        columns = {"prediction": records.array("prediction"), "score": missing, "loss": missing}
    return read_answers(columns, targets, task, cell.model.decision)


def shifted_answers(cell: CellEvidence, task: Task) -> dict[str, Answers]:
    """Reads a cell of shifted samples: point to answers, rows as the cell's samples."""
    found = {}
    for point in cell.records.points:
        records = cell.records.at(point).aligned(cell.samples.ids)
        found[point] = read_answers(records, cell.samples.targets, task, cell.model.decision)
    return found


def cluster_codes(clusters: NDArray[np.object_] | None) -> Ints | None:
    """Returns cluster names as codes in the order of the names, shape (n,)."""
    if clusters is None:
        return None
    codes, _ = pd.factorize(np.asarray(clusters, dtype=object), sort=True)
    return np.asarray(codes, dtype=np.int64)


def _within(cell: CellEvidence, ids: NDArray[np.object_]) -> Records:
    rows = pd.Index(cell.records.ids).get_indexer(pd.Index(ids))
    if (rows < 0).any():
        raise ValueError(f"records: {int((rows < 0).sum())} of {len(ids)} ids have no record")
    return Records(cell.records.table.take(rows))
