"""Metrics of real-valued predictions: errors in the target's unit, and correlation.

Every builder takes `predictions` and `targets`, finite numbers of shape (n,), and raises ValueError
if a number isn't finite or the lengths differ.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic, Sums
from crucibench.metrics._inputs import FloatArray, float_vector, require_same_length
from crucibench.metrics._rows import row_dots, row_sums, weighted_sum
from crucibench.metrics._ties import TieGroups
from crucibench.metrics.statistic import mean_statistic


def mae_statistic(predictions: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the mean absolute error, >= 0."""
    predicted, truth = _checked(predictions, targets)
    return mean_statistic(np.abs(predicted - truth))


def rmse_statistic(predictions: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the root of the mean squared error, >= 0."""
    predicted, truth = _checked(predictions, targets)
    squares = (predicted - truth) ** 2

    of_squares = mean_statistic(squares)

    def compute(weights: FloatArray) -> FloatArray:
        return np.sqrt(of_squares.compute(weights))

    def sums() -> Sums | None:
        mean = of_squares.sums and of_squares.sums()
        return replace(mean, value=lambda sums: np.sqrt(mean.value(sums))) if mean else None

    def influence() -> FloatArray:
        mean = squares.mean()
        # Of errors that are all 0 every derivative is 0, though the root has none there.
        slope = 0.5 / np.sqrt(mean) / len(squares) if mean else 0.0
        return np.asarray(slope * (squares - mean))

    return Statistic(
        n=len(truth), compute=compute, undefined="no samples", influence=influence, sums=sums
    )


def median_absolute_error_statistic(predictions: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the median absolute error, >= 0: the mean of the two middle ones where n is even."""
    predicted, truth = _checked(predictions, targets)
    errors = np.abs(predicted - truth)
    groups = TieGroups(errors)
    distinct = groups.first(errors)

    def compute(weights: FloatArray) -> FloatArray:
        upto = groups.sums(weights).cumsum(axis=1)
        half = upto[:, -1:] / 2
        low = distinct[(upto >= half).argmax(axis=1)]
        high = distinct[(upto > half).argmax(axis=1)]
        return np.where(half[:, 0] > 0, (low + high) / 2, np.nan)

    return Statistic(n=len(truth), compute=compute, undefined="no samples")


def r2_statistic(predictions: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the coefficient of determination, <= 1: 1 - squared error / spread of the targets.

    It is undefined, not 0 or 1, where all targets are equal.
    """
    predicted, truth = _checked(predictions, targets)
    squares = (predicted - truth) ** 2

    def compute(weights: FloatArray) -> FloatArray:
        total = row_sums(weights)
        centre = weighted_sum(weights, truth) / total
        spread = row_dots(weights, (truth - centre[:, None]) ** 2)
        spread[_all_equal(weights, truth)] = np.nan
        return 1 - weighted_sum(weights, squares) / spread

    return Statistic(n=len(truth), compute=compute, undefined="all targets are equal")


def spearman_statistic(predictions: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns Spearman's rank correlation, in [-1, 1], tied numbers sharing their mean rank.

    It is undefined where all predictions or all targets are equal.
    """
    predicted, truth = _checked(predictions, targets)
    by_predicted, by_truth = TieGroups(predicted), TieGroups(truth)
    rows_predicted, rows_truth = by_predicted.rows(), by_truth.rows()

    def compute(weights: FloatArray) -> FloatArray:
        rank_predicted, spread_predicted = _centred_ranks(by_predicted.sums(weights))
        rank_truth, spread_truth = _centred_ranks(by_truth.sums(weights))
        product = rank_predicted.take(rows_predicted, axis=1)
        product *= rank_truth.take(rows_truth, axis=1)
        covariance = row_dots(weights, product)
        return np.asarray(covariance / (np.sqrt(spread_predicted) * np.sqrt(spread_truth)))

    constant = "predictions" if predicted.size and (predicted == predicted[0]).all() else "targets"
    return Statistic(n=len(truth), compute=compute, undefined=f"all {constant} are equal")


def _centred_ranks(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mid-ranks less their mean for groups of `counts` (b, G) rows, and their sum of squares."""
    ranks = counts.cumsum(axis=1)
    middle = ranks[:, -1:] / 2
    ranks -= 0.5 * counts
    ranks -= middle
    return ranks, row_dots(counts, ranks**2)


def _all_equal(weights: FloatArray, values: FloatArray) -> FloatArray:
    counted = weights > 0
    low = np.where(counted, values, np.inf).min(axis=1)
    return np.asarray(low >= np.where(counted, values, -np.inf).max(axis=1))


def _checked(predictions: ArrayLike, targets: ArrayLike) -> tuple[FloatArray, FloatArray]:
    predicted = float_vector("predictions", predictions)
    truth = float_vector("targets", targets)
    require_same_length(predictions=predicted, targets=truth)
    return predicted, truth
