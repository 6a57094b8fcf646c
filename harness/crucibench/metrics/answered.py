"""What records keep of a classifier's answer: the class, a probability and a loss."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Outputs
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.metrics.probabilistic import SMALLEST, softmax

_SUM_TOLERANCE = 1e-3
_RANGE_TOLERANCE = 1e-6


def ask(adapter: Adapter, batch: Batch) -> Outputs:
    """Asks for scores, or for labels where a model gives no more."""
    want = "scores" if Capability.SCORES in adapter.capabilities else "labels"
    return adapter.predict(batch, frozenset({want}))


def answer_columns(outputs: Outputs, score_kind: str, targets: NDArray[Any]) -> dict[str, Any]:
    """Returns what records keep of an answer, a row a sample.

    ``prediction``: the class of the highest score. ``score``: the probability of class 1 of two,
    else of the predicted class; NaN where there is none. ``loss``: -ln of the target's probability,
    raised to at least 2.2e-16; NaN likewise.
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
    predicted = scores.argmax(axis=1).astype(np.int32)
    if score_kind == "logits":
        matrix = softmax(matrix) if len(matrix) else matrix
    else:
        outside = (matrix < -_RANGE_TOLERANCE) | (matrix > 1 + _RANGE_TOLERANCE)
        off = outside.any(axis=1) | (np.abs(matrix.sum(axis=1) - 1) > _SUM_TOLERANCE)
        matrix = matrix.clip(0.0, 1.0)
        matrix[off] = np.nan
    rows = np.arange(len(matrix))
    score = matrix[:, 1] if matrix.shape[1] == 2 else matrix[rows, predicted]
    of_target = matrix[rows, targets.astype(np.int64)]
    loss = -np.log(np.maximum(of_target, SMALLEST))
    return {"prediction": predicted, "score": score, "loss": loss}
