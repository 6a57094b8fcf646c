"""The confusion table and statistics of it.

A table statistic takes tables of counts, shape (B, K, K), rows being targets and columns
predictions. Where samples are drawn independently the table can be resampled exactly (a multinomial
over its cells), whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic, TableStatistic, Value
from crucibench.metrics._inputs import FloatArray, IntArray, class_indices, require_same_length


def confusion_table(targets: ArrayLike, predictions: ArrayLike, classes: int) -> IntArray:
    """Counts samples by target (row) and prediction (column).

    Args:
        targets: class indices, shape (n,), in 0..classes-1.
        predictions: class indices, shape (n,).
        classes: the number K of classes, at least 2.

    Returns:
        Shape (K, K), int64.

    Raises:
        ValueError: if indices are out of range, lengths differ or there are fewer than 2 classes.
    """
    cells = _cells(targets, predictions, classes)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@final
@dataclass(frozen=True, kw_only=True)
class TableRate:
    """A proportion read off the confusion table: successes among trials.

    Attributes:
        successes: maps tables (b, K, K) to counts (b,).
        trials: maps tables (b, K, K) to counts (b,), the denominator.
        undefined: why there is no rate where there are no trials.
    """

    successes: Callable[[FloatArray], FloatArray]
    trials: Callable[[FloatArray], FloatArray]
    undefined: str

    def __call__(self, tables: ArrayLike) -> FloatArray:
        """Computes the rate of every table: (B, K, K) to (B,), nan where there are no trials.

        Raises:
            ValueError: if `tables` has another shape or a count is negative or nan.
        """
        counts = _tables(tables)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.divide(self.successes(counts), self.trials(counts))

    def counts(self, table: ArrayLike) -> tuple[int, int]:
        """Returns successes and trials of one table, shape (K, K)."""
        one = _table(table)[None]
        return int(self.successes(one)[0]), int(self.trials(one)[0])

    def value(self, table: ArrayLike) -> Value:
        """Returns the rate of one table, n being its trials, or why it is undefined."""
        successes, trials = self.counts(table)
        if trials == 0:
            return Value(value=None, n=0, reason=self.undefined)
        return Value(value=successes / trials, n=trials)


def on_rows(
    statistic: TableStatistic | TableRate, targets: ArrayLike, predictions: ArrayLike, classes: int
) -> Statistic:
    """Returns a table statistic as one of row weights, e.g. for a cluster bootstrap.

    Args:
        statistic: what to compute from the table of weighted counts.
        targets: class indices, shape (n,).
        predictions: class indices, shape (n,).
        classes: the number K of classes.

    Raises:
        ValueError: as `confusion_table`.
    """
    cells = _cells(targets, predictions, classes)
    size = classes * classes

    def compute(weights: FloatArray) -> FloatArray:
        tables = np.stack([np.bincount(cells, weights=row, minlength=size) for row in weights])
        return statistic(tables.reshape(-1, classes, classes))

    table = np.bincount(cells, minlength=size).reshape(classes, classes).astype(np.float64)
    if isinstance(statistic, TableRate):
        undefined, note = statistic.undefined, ""
    else:
        undefined, note = statistic.undefined(table), statistic.note(table)
    return Statistic(n=len(cells), compute=compute, undefined=undefined, note=note, width=size)


def _cells(targets: ArrayLike, predictions: ArrayLike, classes: int) -> IntArray:
    if classes < 2:
        raise ValueError(f"classes: expected at least 2, got {classes}")
    truth = class_indices("targets", targets, classes)
    predicted = class_indices("predictions", predictions, classes)
    require_same_length(targets=truth, predictions=predicted)
    return truth * classes + predicted


def _tables(tables: ArrayLike) -> FloatArray:
    counts = np.asarray(tables, dtype=np.float64)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2] or counts.shape[1] < 2:
        raise ValueError(f"tables: expected shape (B, K, K) with K >= 2, got {counts.shape}")
    if counts.size and not counts.min() >= 0:
        raise ValueError(f"tables: expected counts >= 0, got {counts.min()}")
    return counts


def _table(table: ArrayLike) -> FloatArray:
    counts = np.asarray(table, dtype=np.float64)
    if counts.ndim != 2:
        raise ValueError(f"table: expected shape (K, K), got {counts.shape}")
    return np.asarray(_tables(counts[None])[0])
