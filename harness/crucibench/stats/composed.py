"""Intervals of functions of the confusion table, composed of the classes' own intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.intervals import normal_quantile, share_interval
from crucibench.stats.results import PairedDifference

FloatArray: TypeAlias = NDArray[np.float64]

Tables: TypeAlias = Callable[[FloatArray], FloatArray]
"""From (B, K, K) counts to (B,) values, nan where undefined."""

_STEP = 1e-3
"""Of a count, for the derivative of a statistic by it."""

_CELLS = 1 << 21
"""Most float64 cells of the tables that are made at a time (16 MiB)."""


def table_interval(table: ArrayLike, statistic: Tables, level: float = 0.95) -> Interval:
    """Return the interval of a smooth function of a confusion table, by square-and-add (MOVER).

    Each class's recall moves to the ends of its own interval (`share_interval`), one class at a
    time; how far the statistic moves down, or up, is squared and added over the classes. Classes
    of which nothing was missed, or nothing found, so have their say, which no resampling of a zero
    gives them. To it is added the delta-method variance of all else: how many samples are of each
    class, and with what a class is confused.

    Args:
        table: Counts of true classes (rows) by predicted ones, shape (K, K).
        statistic: Of tables; it may be any function that is smooth in the counts.
        level: Confidence level, in (0, 1).

    Returns:
        The interval, not cut off at the statistic's range; method ``mover``.

    Raises:
        ValueError: A table without samples, or on which the statistic is undefined.

    Source:
        Zou and Donner 2008, Statistics in Medicine 27:1693; Newcombe 2001, Statistics in Medicine
        20:2887 (square-and-add for sums of proportions).
    """
    parts = _Parts.of(np.asarray(table, dtype=np.float64), statistic, level)
    total, within = parts.variances()
    rest = normal_quantile(level) ** 2 * max(0.0, total - within)
    lower = parts.value - math.sqrt(float(parts.down @ parts.down) + rest)
    upper = parts.value + math.sqrt(float(parts.up @ parts.up) + rest)
    return Interval(lower, upper, float(level), "mover")


def paired_table_difference(
    first: ArrayLike,
    second: ArrayLike,
    targets: ArrayLike,
    statistic: Tables,
    *,
    classes: int,
    level: float = 0.95,
) -> PairedDifference:
    """Return a function of two models' confusion tables over the same samples, first minus second.

    As `table_interval`, with both models' recalls of a class moved apart; the two distances are
    correlated by the phi of right and wrong within the class (shrunk by Newcombe's continuity
    correction), as in his interval of a paired difference of proportions.

    Args:
        first: Predicted classes of the first model, shape (n,).
        second: Of the second.
        targets: True classes, shape (n,).
        statistic: As of `table_interval`.
        classes: How many there are, K.
        level: Confidence level, in (0, 1).

    Returns:
        The difference; method ``mover-paired``.

    Raises:
        ValueError: As `table_interval`.

    Source:
        As of `table_interval`; Newcombe 1998, Statistics in Medicine 17:2635, method 10.
    """
    truth = np.asarray(targets)
    answers = (np.asarray(first), np.asarray(second))
    sides = []
    for predicted in answers:
        flat = np.bincount(truth * classes + predicted, minlength=classes**2)
        sides.append(_Parts.of(flat.reshape(classes, classes).astype(float), statistic, level))
    one, other = sides
    right = [predicted == truth for predicted in answers]
    change = one.derivatives[truth, answers[0]] - other.derivatives[truth, answers[1]]
    total = float(change @ change - change.sum() ** 2 / len(change))
    # Of it, what right against wrong within the classes says is in the ends of the intervals.
    against = one.contrasts[truth] * right[0] - other.contrasts[truth] * right[1]
    within, phi = 0.0, np.zeros(len(one.present))
    for place, inside in enumerate(truth == k for k in one.present):
        part = against[inside]
        within += float(part.var() * len(part))
        phi[place] = _phi(*(hits[inside] for hits in right))
    rest = normal_quantile(level) ** 2 * max(0.0, total - within)
    estimate = one.value - other.value
    below = _apart(-one.down, other.up, phi)
    above = _apart(one.up, -other.down, phi)
    interval = Interval(
        estimate - math.sqrt(below + rest), estimate + math.sqrt(above + rest), float(level),
        "mover-paired",
    )  # fmt: skip
    return difference_of(estimate, interval, alike=bool((answers[0] == answers[1]).all()))


def difference_of(estimate: float, interval: Interval, *, alike: bool = False) -> PairedDifference:
    """Return a paired difference that an interval speaks of; `alike`: of answers that are equal.

    Its p-value is normal, with the distance from the estimate to the end that lies towards 0 as so
    many standard errors: at the interval's level it says what the interval says.
    """
    z = normal_quantile(interval.level)
    towards = estimate - interval.lower if estimate > 0.0 else interval.upper - estimate
    p_value = 2.0 * float(ndtr(-abs(estimate) * z / towards)) if towards > 0.0 else 1.0
    error = (interval.upper - interval.lower) / (2.0 * z)
    return PairedDifference(estimate, interval, error, p_value, interval.method, degenerate=alike)


def _apart(one: FloatArray, other: FloatArray, phi: FloatArray) -> float:
    """Return the sum over classes of squared distances of two correlated estimates."""
    return float(np.sum(one**2 - 2.0 * phi * one * other + other**2))


def _phi(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the correlation of two models' right answers to the samples of a class.

    Of each class by itself: one of all classes together is too high for a rare class on which the
    models differ more than on the others.
    """
    n = len(first)
    both = int(np.count_nonzero(first & second))
    one, other = int(np.count_nonzero(first)), int(np.count_nonzero(second))
    covariance = float(n * both - one * other)
    if covariance > 0.0:
        covariance = max(covariance - n / 2.0, 0.0)
    margins = one * (n - one) * other * (n - other)
    return covariance / math.sqrt(margins) if margins else 0.0


class _Parts(NamedTuple):
    """A statistic of one table, taken apart by class.

    Attributes:
        counts: the table, (K, K).
        present: the classes that have samples, (P,).
        value: of the table.
        down: how far it moves down with each class's recall, (P,), at most 0.
        up: how far up.
        derivatives: by each cell's count, (K, K); 0 for empty cells.
        contrasts: the derivative of right against wrong answers of each class, (K,).
    """

    counts: FloatArray
    present: NDArray[np.intp]
    value: float
    down: FloatArray
    up: FloatArray
    derivatives: FloatArray
    contrasts: FloatArray

    @classmethod
    def of(cls, counts: FloatArray, statistic: Tables, level: float) -> _Parts:
        sizes = counts.sum(axis=1)
        if not sizes.any():
            raise ValueError("table: expected at least one sample, got none")
        value = float(statistic(counts[None])[0])
        if not math.isfinite(value):
            raise ValueError("statistic: expected a value on the table itself, got none")
        present = np.flatnonzero(sizes)
        ends = _ends(counts, present, _errors(counts, present), _checks.level(level))
        moved = np.nan_to_num(_evaluate(statistic, counts, present, ends).reshape(-1, 2) - value)
        derivatives = _derivatives(counts, statistic, value)
        right = np.diagonal(counts)
        own = np.diagonal(derivatives)
        wrong = sizes - right
        mixed = (right > 0) & (wrong > 0)
        contrasts = np.zeros(len(counts))
        others = (counts * derivatives).sum(axis=1) - own * right
        contrasts[mixed] = own[mixed] - others[mixed] / wrong[mixed]
        down, up = np.minimum(moved.min(axis=1), 0.0), np.maximum(moved.max(axis=1), 0.0)
        return cls(counts, present, value, down, up, derivatives, contrasts)

    def variances(self) -> tuple[float, float]:
        """Returns the delta-method variance, and what right against wrong in classes has of it."""
        weighted = self.counts * self.derivatives
        total = float((weighted * self.derivatives).sum() - weighted.sum() ** 2 / self.counts.sum())
        right = np.diagonal(self.counts)[self.present]
        sizes = self.counts[self.present].sum(axis=1)
        spread = right * (sizes - right) / sizes
        return total, float(spread @ self.contrasts[self.present] ** 2)


def _errors(counts: FloatArray, present: NDArray[np.intp]) -> FloatArray:
    """Return how each class's errors are spread over the others, (len(present), K).

    As they were seen; of a class without errors, as all samples are predicted.
    """
    rows = counts[present].copy()
    everywhere = np.repeat(counts.sum(axis=0)[None], len(present), axis=0)
    for shares in (rows, everywhere):
        shares[np.arange(len(present)), present] = 0.0
    even = np.ones_like(rows)
    even[np.arange(len(present)), present] = 0.0
    for fallback in (everywhere, even):
        rows = np.where(rows.sum(axis=1, keepdims=True) > 0.0, rows, fallback)
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


def _ends(
    counts: FloatArray,
    present: NDArray[np.intp],
    errors: FloatArray,
    level: float,
) -> FloatArray:
    """Return each class's row at the lower and the upper end of its recall, (P, 2, K)."""
    rows = np.empty((len(present), 2, counts.shape[1]))
    for place, k in enumerate(present):
        size = float(counts[k].sum())
        found = share_interval(round(counts[k, k]), round(size), level)
        for end, recall in enumerate((found.lower, found.upper)):
            rows[place, end] = size * (1.0 - recall) * errors[place]
            rows[place, end, k] = size * recall
    return rows


def _evaluate(
    statistic: Tables,
    counts: FloatArray,
    present: NDArray[np.intp],
    rows: FloatArray,
) -> FloatArray:
    """Return the statistic of the table with one row replaced, for each of the rows (P, 2, K)."""
    classes = np.repeat(present, 2)
    flat = rows.reshape(-1, counts.shape[1])
    step = max(1, _CELLS // counts.size)
    parts = []
    for start in range(0, len(flat), step):
        chosen = slice(start, start + step)
        tables = np.repeat(counts[None], len(flat[chosen]), axis=0)
        tables[np.arange(len(tables)), classes[chosen]] = flat[chosen]
        parts.append(statistic(tables))
    return np.concatenate(parts)


def _derivatives(counts: FloatArray, statistic: Tables, value: float) -> FloatArray:
    rows, columns = np.nonzero(counts)
    found = np.zeros_like(counts)
    step = max(1, _CELLS // counts.size)
    for start in range(0, len(rows), step):
        chosen = slice(start, start + step)
        tables = np.repeat(counts[None], len(rows[chosen]), axis=0)
        tables[np.arange(len(tables)), rows[chosen], columns[chosen]] += _STEP
        found[rows[chosen], columns[chosen]] = (statistic(tables) - value) / _STEP
    return np.nan_to_num(found)
