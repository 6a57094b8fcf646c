"""Probabilities from logits, and proper scores of them, all in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.contracts.statistic import Statistic
from crucibench.metrics._inputs import (
    FloatArray,
    class_indices,
    flags,
    float_matrix,
    probability_matrix,
    probability_vector,
    require_same_length,
)
from crucibench.metrics.statistic import mean_statistic

SMALLEST = float(np.finfo(np.float64).eps)
"""Probabilities are raised to this (2.2e-16) before a logarithm is taken, as in scikit-learn."""

_ADDED_IN_ORDER = 8


def by_column(matrix: NDArray[np.floating]) -> FloatArray:
    """Returns a matrix (n, K) in float64, laid out by columns where these are few.

    Then what is done along rows takes a tenth of the time. NumPy adds fewer than 8 numbers one
    after the other whatever their layout, so that sums are the same bits.
    """
    return matrix.astype(np.float64, order="F" if matrix.shape[1] < _ADDED_IN_ORDER else "C")


def softmax(logits: ArrayLike) -> FloatArray:
    """Returns the softmax of logits, shape (n, K), in [0, 1].

    Args:
        logits: shape (n, K); -inf means an impossible class, but not all of a row.

    Raises:
        ValueError: if a logit is nan or +inf, or all of a row are -inf.
    """
    powers = np.exp(_shifted(logits))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def log_odds(logits: ArrayLike) -> FloatArray:
    """Returns each class's log odds against the rest: ln(p_k / (1 - p_k)), p being the softmax.

    They rank samples as the probabilities do, but never saturate: use them for one-vs-rest AUROC
    and average precision. For two classes they are exact differences of logits.

    Args:
        logits: finite, shape (n, K).

    Returns:
        Shape (n, K).

    Raises:
        ValueError: if a logit isn't finite.
    """
    matrix = float_matrix("logits", logits)
    if matrix.shape[1] == 2:
        return matrix - matrix[:, ::-1]
    rows, top = np.arange(len(matrix)), matrix.argmax(axis=1)
    shifted = matrix - matrix[rows, top][:, None]
    powers = np.exp(shifted)
    others = powers.sum(axis=1, keepdims=True) - powers
    # What is left beside the largest class may be far below the largest's own rounding error.
    rest = shifted.copy()
    rest[rows, top] = -np.inf
    peak = rest.max(axis=1)
    log_rest = np.log(np.exp(rest - peak[:, None]).sum(axis=1)) + peak
    others[rows, top] = 1.0
    odds = shifted - np.log(others)
    odds[rows, top] = -log_rest
    return np.asarray(odds)


def log_probabilities(probabilities: ArrayLike) -> FloatArray:
    """Returns ln max(p, 2.2e-16), shape (n, K): logits for models that give only probabilities.

    Raises:
        ValueError: if a number is outside [0, 1] or a row doesn't sum to 1.
    """
    return np.log(np.maximum(probability_matrix("probabilities", probabilities), SMALLEST))


def log_losses(probabilities: ArrayLike, targets: ArrayLike) -> FloatArray:
    """Returns each sample's log loss: -ln max(p, 2.2e-16), p being the target's probability.

    Args:
        probabilities: shape (n, K), rows summing to 1.
        targets: class indices, shape (n,).

    Returns:
        Shape (n,), nats, in [0, 36.05].

    Raises:
        ValueError: if probabilities are none, an index is out of range, or lengths differ.
    """
    matrix = probability_matrix("probabilities", probabilities)
    truth = class_indices("targets", targets, matrix.shape[1])
    require_same_length(probabilities=matrix, targets=truth)
    own = np.take_along_axis(matrix, truth[:, None], axis=1)[:, 0]
    return np.asarray(0.0 - np.log(np.maximum(own, SMALLEST)))


def log_loss_statistic(probabilities: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the mean log loss (negative log-likelihood) in nats; arguments as `log_losses`."""
    return mean_statistic(log_losses(probabilities, targets))


def log_loss_by_label(probabilities: ArrayLike) -> FloatArray:
    """Returns the log loss that each label would give, shape (n, K), of probabilities (n, K)."""
    matrix = np.asarray(probabilities, dtype=np.float64)
    return np.asarray(0.0 - np.log(np.maximum(matrix, SMALLEST)))


def brier_sum_by_label(probabilities: ArrayLike) -> FloatArray:
    """Returns the summed Brier score that each label would give, shape (n, K)."""
    matrix = np.asarray(probabilities, dtype=np.float64)
    squares = np.einsum("nk,nk->n", matrix, matrix)
    return np.asarray(squares[:, None] - 2.0 * matrix + 1.0)


def brier_sum_statistic(probabilities: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the Brier score summed over classes: mean of sum_k (p_k - [target = k])^2.

    This is Brier's own form (Mon. Weather Rev. 78, 1950), for two classes twice the binary one.

    Args:
        probabilities: shape (n, K), rows summing to 1.
        targets: class indices, shape (n,).

    Returns:
        Values in [0, 2].

    Raises:
        ValueError: if probabilities are none, an index is out of range, or lengths differ.
    """
    matrix = probability_matrix("probabilities", probabilities)
    truth = class_indices("targets", targets, matrix.shape[1])
    n = require_same_length(probabilities=matrix, targets=truth)
    distance = matrix.copy()
    distance[np.arange(n), truth] -= 1
    return mean_statistic(np.einsum("nk,nk->n", distance, distance))


def brier_statistic(positive: ArrayLike, positives: ArrayLike) -> Statistic:
    """Returns the binary Brier score: mean of (p - y)^2.

    Args:
        positive: probabilities of the positive class, shape (n,).
        positives: bool, or 0 and 1, shape (n,).

    Returns:
        Values in [0, 1].

    Raises:
        ValueError: if a number is outside [0, 1], or lengths differ.
    """
    column = probability_vector("positive", positive)
    truth = flags("positives", positives)
    require_same_length(positive=column, positives=truth)
    return mean_statistic((column - truth) ** 2)


def _shifted(logits: ArrayLike) -> FloatArray:
    matrix = float_matrix("logits", logits, infinite=True)
    peak = matrix.max(axis=1, keepdims=True) if len(matrix) else matrix[:, :1]
    if not np.isfinite(peak).all():
        raise ValueError("logits: expected no +inf and in each row a finite number, got neither")
    return np.asarray(matrix - peak)
