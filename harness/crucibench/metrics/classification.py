"""Metrics of predicted labels.

A class index says which class a rate is of; in a binary task that is the positive class, and the
predictions are those of the task's decision threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import TableStatistic
from crucibench.metrics._inputs import (
    BoolArray,
    FloatArray,
    class_indices,
    require_same_length,
)
from crucibench.metrics._rows import row_sums

_SHOWN = 5
"""How many class indices a note lists."""


def hits_at_k(scores: ArrayLike, targets: ArrayLike, k: int) -> BoolArray:
    """Says of every sample whether its target is among the `k` highest scores.

    The target's rank is 1 + the classes that score strictly higher + the tied classes of lower
    index, so that `k` = 1 agrees with `argmax` and exactly `k` classes are hits in every row.

    Args:
        scores: any scores, higher meaning more likely, shape (n, K).
        targets: class indices, shape (n,).
        k: between 1 and K.

    Returns:
        Shape (n,), bool.

    Raises:
        ValueError: if shapes, indices or `k` don't fit, or a score is nan.
    """
    matrix = np.asarray(scores)
    if matrix.ndim != 2:
        raise ValueError(f"scores: expected shape (n, K), got {matrix.shape}")
    if np.isnan(matrix).any():
        raise ValueError("scores: expected numbers, got nan")
    classes = matrix.shape[1]
    if not 1 <= k <= classes:
        raise ValueError(f"k: expected 1..{classes}, got {k}")
    truth = class_indices("targets", targets, classes)
    require_same_length(scores=matrix, targets=truth)
    own = np.take_along_axis(matrix, truth[:, None], axis=1)
    ahead = (matrix > own).sum(axis=1)
    ahead += ((matrix == own) & (np.arange(classes) < truth[:, None])).sum(axis=1)
    return np.asarray(ahead < k)


def _margins(tables: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns right answers, samples and predictions by class, (b, K) each."""
    return np.diagonal(tables, axis1=1, axis2=2), tables.sum(axis=2), tables.sum(axis=1)


def _over_margins(
    of_margins: Callable[[FloatArray, FloatArray, FloatArray], FloatArray],
    undefined: Callable[[FloatArray], str],
    note: Callable[[FloatArray], str] = lambda _: "",
) -> TableStatistic:
    return TableStatistic(
        compute=lambda tables: of_margins(*_margins(tables)), undefined=undefined, note=note,
        of_margins=of_margins,
    )  # fmt: skip


def _f1(right: FloatArray, truth: FloatArray, predicted: FloatArray) -> FloatArray:
    return np.asarray(np.divide(2 * right, truth + predicted))


def _balanced_accuracy(right: FloatArray, truth: FloatArray, predicted: FloatArray) -> FloatArray:
    return _mean_where(right / truth, truth > 0)


def _f1_macro(right: FloatArray, truth: FloatArray, predicted: FloatArray) -> FloatArray:
    return _mean_where(_f1(right, truth, predicted), truth + predicted > 0)


def _f1_weighted(right: FloatArray, truth: FloatArray, predicted: FloatArray) -> FloatArray:
    scores = np.where(truth > 0, _f1(right, truth, predicted), 0.0)
    return row_sums(scores * truth) / row_sums(truth)


def _mcc(right: FloatArray, truth: FloatArray, predicted: FloatArray) -> FloatArray:
    total = row_sums(truth)
    covariance = row_sums(right) * total - row_sums(truth * predicted)
    spread_truth = total**2 - row_sums(truth**2)
    spread_predicted = total**2 - row_sums(predicted**2)
    return np.asarray(covariance / (np.sqrt(spread_truth) * np.sqrt(spread_predicted)))


def _mean_where(values: FloatArray, defined: BoolArray) -> FloatArray:
    return np.asarray(row_sums(np.where(defined, values, 0.0)) / defined.sum(axis=1))


def _left_out(occurs: BoolArray, what: str) -> str:
    absent = np.flatnonzero(~occurs)
    if len(absent) == 0:
        return ""
    shown = ", ".join(str(i) for i in absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
    return f"over {occurs.sum()} of {len(occurs)} classes: {what} of class {shown}"


def _one_class(table: FloatArray) -> str:
    targets = (table.sum(axis=1) > 0).sum()
    return "all samples are of one class" if targets < 2 else "all predictions are of one class"


balanced_accuracy = _over_margins(
    _balanced_accuracy, lambda _: "no samples",
    lambda table: _left_out(table.sum(axis=1) > 0, "no sample"),
)  # fmt: skip
"""The mean recall of the classes that have samples (scikit-learn's definition)."""

f1_macro = _over_margins(
    _f1_macro, lambda _: "no samples",
    lambda table: _left_out(
        table.sum(axis=0) + table.sum(axis=1) > 0, "no sample and no prediction"
    ),
)  # fmt: skip
"""The mean F1 of the classes that occur in targets or predictions (scikit-learn's default)."""

f1_weighted = _over_margins(_f1_weighted, lambda _: "no samples")
"""The mean F1 of the classes, weighted by their numbers of samples."""

mcc = _over_margins(_mcc, _one_class)
"""Matthews' correlation coefficient, for K classes Gorodkin's R_K (Comput. Biol. Chem. 28, 2004).

It is undefined, not 0, where all targets or all predictions are of one class.
"""
