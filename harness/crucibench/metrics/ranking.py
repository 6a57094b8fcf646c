"""Metrics of how scores rank samples; only the order of scores and their ties matter.

Scores are used as given: no sigmoid, no rounding, so that saturated logits keep their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic, Sums
from crucibench.metrics._inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    class_indices,
    flags,
    float_matrix,
    float_vector,
    require_same_length,
)
from crucibench.metrics._rows import row_dots, row_steps, row_sums
from crucibench.metrics._ties import TieGroups

_SHOWN = 5

MOST_RUNS = 500
"""Most runs of samples of which a number is a function of their sums."""

_CELLS = 250
"""Into how many cells thresholds are put that resampling may choose."""


def auroc_statistic(scores: ArrayLike, positives: ArrayLike) -> Statistic:
    """Returns the area under the ROC curve: P(a positive outscores a negative), ties half.

    Args:
        scores: higher meaning more likely positive, shape (n,); infinities are allowed.
        positives: bool, or 0 and 1, shape (n,).

    Returns:
        Values in [0, 1]; undefined without a positive or without a negative sample.

    Raises:
        ValueError: if a score is nan, `positives` isn't yes or no, or lengths differ.
    """
    ranking, truth = _checked(scores, positives)
    groups = TieGroups(ranking)

    def compute(weights: FloatArray) -> FloatArray:
        hits = groups.sums(weights, truth)
        misses = groups.sums(weights, ~truth)
        below = misses.cumsum(axis=1)
        pairs = below[:, -1] * row_sums(hits)
        below -= 0.5 * misses
        return row_dots(hits, below) / pairs

    def influence() -> FloatArray:
        ones = np.ones((1, len(truth)))
        hits, misses = groups.sums(ones, truth)[0], groups.sums(ones, ~truth)[0]
        positives, negatives = hits.sum(), misses.sum()
        # Of each sample, the share of the other class that it is ranked rightly against.
        below = ((misses.cumsum() - 0.5 * misses) / negatives)[rows := groups.rows()]
        above = (1 - (hits.cumsum() - 0.5 * hits) / positives)[rows]
        area = below[truth].mean()
        return np.asarray(np.where(truth, (below - area) / positives, (above - area) / negatives))

    missing = "no positive sample" if not truth.any() else "no negative sample"
    return Statistic(
        n=len(truth), compute=compute, undefined=missing, note=_balance(truth), influence=influence
    )


def average_precision_statistic(scores: ArrayLike, positives: ArrayLike) -> Statistic:
    """Returns the average precision: the sum over distinct scores of recall gained x precision.

    No interpolation; tied samples enter together (scikit-learn's definition).

    Args:
        scores: higher meaning more likely positive, shape (n,); infinities are allowed.
        positives: bool, or 0 and 1, shape (n,).

    Returns:
        Values in (0, 1]; undefined without a positive sample.

    Raises:
        ValueError: if a score is nan, `positives` isn't yes or no, or lengths differ.
    """
    ranking, truth = _checked(scores, positives)
    groups = TieGroups(ranking, descending=True)

    def compute(weights: FloatArray) -> FloatArray:
        return area(*groups.cumulated(weights, truth))

    def area(flagged: FloatArray, found: FloatArray) -> FloatArray:
        precision = np.divide(found, flagged, out=np.zeros_like(found), where=flagged > 0)
        hits = row_steps(found)
        return np.asarray(row_dots(hits, precision) / found[:, -1])

    def influence() -> FloatArray:
        # AP = sum over groups of hits x found / flagged / positives. A sample adds to the hits of
        # its group, to what is found from there on, and to what is flagged from there on.
        ones = np.ones((1, len(truth)))
        hits, flagged = groups.sums(ones, truth)[0], groups.sums(ones)[0].cumsum()
        found = hits.cumsum()
        share = found / flagged
        gained = share + _from_here(hits / flagged)
        lost = _from_here(hits * share / flagged)
        rows, positives = groups.rows(), found[-1]
        area = (hits * share).sum() / positives
        return np.asarray((truth * (gained[rows] - area) - lost[rows]) / positives)

    @cache
    def sums() -> Sums | None:
        # Negatives between two positives count together: their order among themselves is nothing.
        hit = groups.sums(np.ones((1, len(truth))), truth)[0] > 0
        return running_sums(groups, truth, hit | np.append(True, hit[:-1]), area)

    return Statistic(
        n=len(truth), compute=compute, undefined="no positive sample", note=_balance(truth),
        influence=influence, sums=sums if len(truth) else None,
    )  # fmt: skip


def running_sums(
    groups: TieGroups,
    flags: BoolArray,
    split: BoolArray,
    value: Callable[[FloatArray, FloatArray], FloatArray],
) -> Sums | None:
    """Returns a function of running sums over runs of ranked samples; None where runs are many.

    Args:
        groups: the samples in their order.
        flags: shape (n,).
        split: whether a tie group begins a run, (G,).
        value: of running sums over the runs, of weights and of weights of flagged samples, (b, R)
            each, to (b,).
    """
    count = int(split.sum())
    if count > MOST_RUNS:
        return None
    run = groups.runs(split)

    def by_group(codes: IntArray, number: int) -> FloatArray:
        cells = codes * count + run
        parts = [np.bincount(cells, column, number * count) for column in (None, flags)]
        return np.concatenate([part.reshape(number, count) for part in parts], axis=1, dtype=float)

    def of_sums(summed: FloatArray) -> FloatArray:
        return value(summed[:, :count].cumsum(axis=1), summed[:, count:].cumsum(axis=1))

    return Sums(2 * count, by_group, of_sums)


def recall_at_precision_statistic(
    scores: ArrayLike, positives: ArrayLike, *, precision: float
) -> Statistic:
    """Returns the highest recall of all thresholds whose precision is at least `precision`.

    It is 0 where no threshold is that precise: then only flagging nothing keeps the promise.

    Args:
        scores: higher meaning more likely positive, shape (n,); infinities are allowed.
        positives: bool, or 0 and 1, shape (n,).
        precision: in (0, 1].

    Returns:
        Values in [0, 1]; undefined without a positive sample.

    Raises:
        ValueError: if `precision` is outside (0, 1], or as `auroc_statistic`.
    """
    if not 0 < precision <= 1:
        raise ValueError(f"precision: expected a number in (0, 1], got {precision}")
    ranking, truth = _checked(scores, positives)
    groups = TieGroups(ranking, descending=True)

    def compute(weights: FloatArray) -> FloatArray:
        return best(*groups.cumulated(weights, truth))

    def best(flagged: FloatArray, hits: FloatArray) -> FloatArray:
        found = np.where(hits / flagged >= precision, hits, 0.0).max(axis=1)
        return np.asarray(found / hits[:, -1])

    @cache
    def sums() -> Sums | None:
        # Fine where the precision may be the asked one within five standard errors; elsewhere no
        # threshold is chosen, and all samples between count together.
        flagged, hits = (each[0] for each in groups.cumulated(np.ones((1, len(truth))), truth))
        reach = 5 * np.sqrt(precision * (1 - precision) / flagged) + 1 / flagged
        near = np.abs(hits / flagged - precision) <= reach
        step = max(1, math.ceil(near.sum() / _CELLS))
        split = near & (near.cumsum() % step == 0)
        split[1:] |= (near[1:] != near[:-1]) & (near.sum() > 0)
        split[0] = True
        return running_sums(groups, truth, split, best)

    return Statistic(
        n=len(truth), compute=compute, undefined="no positive sample", note=_balance(truth),
        sums=sums if len(truth) else None,
    )  # fmt: skip


def fpr_at_tpr_statistic(scores: ArrayLike, positives: ArrayLike, *, tpr: float) -> Statistic:
    """Returns the false positive rate at the highest threshold that finds a share of positives.

    A sample is flagged if its score is at least the threshold, which is the highest score at which
    at least `tpr` of the positives are flagged: no interpolation, tied samples enter together.

    Args:
        scores: higher meaning more likely positive, shape (n,); infinities are allowed.
        positives: bool, or 0 and 1, shape (n,).
        tpr: in (0, 1].

    Returns:
        Values in [0, 1]; undefined without a positive or without a negative sample.

    Raises:
        ValueError: if `tpr` is outside (0, 1], or as `auroc_statistic`.
    """
    if not 0 < tpr <= 1:
        raise ValueError(f"tpr: expected a number in (0, 1], got {tpr}")
    ranking, truth = _checked(scores, positives)
    groups = TieGroups(ranking, descending=True)

    def compute(weights: FloatArray) -> FloatArray:
        hits = groups.sums(weights, truth).cumsum(axis=1)
        misses = groups.sums(weights, ~truth).cumsum(axis=1)
        # Weights are counts, most often: a needed 19.000000000000004 of 20 must still be 19.
        needed = tpr * hits[:, -1:] * (1 - 1e-12)
        at = (hits >= needed).argmax(axis=1)
        flagged = np.where(hits[:, -1] > 0, misses[np.arange(len(weights)), at], np.nan)
        return np.asarray(flagged / misses[:, -1])

    def influence() -> FloatArray:
        # F = 1 - G(t(w)): a negative moves F as it would any share; a positive moves the threshold,
        # and F with it by the slope of the ROC curve there, which is taken from two standard errors
        # of the true positive rate below to two above.
        ones = np.ones((1, len(truth)))
        found = groups.sums(ones, truth)[0].cumsum()
        missed = groups.sums(ones, ~truth)[0].cumsum()
        positives, negatives = found[-1], missed[-1]

        def place(rate: float) -> int:
            return int((found >= rate * positives * (1 - 1e-12)).argmax())

        at = place(tpr)
        reach = 2 * np.sqrt(tpr * (1 - tpr) / positives)
        low, high = place(max(tpr - reach, 0.0)), place(min(tpr + reach, 1.0))
        rise = found[high] - found[low]
        slope = (missed[high] - missed[low]) / negatives / (rise / positives) if rise else 0.0
        flagged = groups.rows() <= at
        of_negative = (flagged - missed[at] / negatives) / negatives
        of_positive = -slope * (flagged - found[at] / positives) / positives
        return np.asarray(np.where(truth, of_positive, of_negative))

    missing = "no positive sample" if not truth.any() else "no negative sample"
    return Statistic(
        n=len(truth), compute=compute, undefined=missing, note=_balance(truth), influence=influence
    )


def auroc_ovr_macro_statistic(scores: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the mean over all K classes of each class's AUROC against the rest.

    Args:
        scores: a column per class, comparable between samples (probabilities, or
            `probabilistic.log_odds` where probabilities saturate; not bare logits), shape (n, K).
        targets: class indices, shape (n,).

    Returns:
        Values in [0, 1]; undefined where a class has no sample or all.

    Raises:
        ValueError: if a score is nan, an index is out of range, or lengths differ.
    """
    return _one_vs_rest(auroc_statistic, scores, targets)


def average_precision_ovr_macro_statistic(scores: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the mean over all K classes of each class's average precision against the rest.

    Args:
        scores: as for `auroc_ovr_macro_statistic`, shape (n, K).
        targets: class indices, shape (n,).

    Returns:
        Values in (0, 1]; undefined where a class has no sample.

    Raises:
        ValueError: if a score is nan, an index is out of range, or lengths differ.
    """
    return _one_vs_rest(average_precision_statistic, scores, targets)


def _one_vs_rest(
    build: Callable[[ArrayLike, ArrayLike], Statistic], scores: ArrayLike, targets: ArrayLike
) -> Statistic:
    matrix = float_matrix("scores", scores, infinite=True)
    classes = matrix.shape[1]
    truth = class_indices("targets", targets, classes)
    n = require_same_length(scores=matrix, targets=truth)
    parts = [build(matrix[:, k], truth == k) for k in range(classes)]

    def compute(weights: FloatArray) -> FloatArray:
        total = np.zeros(len(weights))
        for part in parts:
            total += part.compute(weights)
        return np.asarray(total / classes)

    def influence() -> FloatArray:
        total = np.zeros(n)
        for part in parts:
            if part.influence is None:
                raise TypeError("one vs rest: expected a metric with an influence function")
            total += part.influence()
        return np.asarray(total / classes)

    absent = np.flatnonzero(np.bincount(truth, minlength=classes) == 0)
    shown = ", ".join(str(k) for k in absent[:_SHOWN]) + (", ..." if len(absent) > _SHOWN else "")
    undefined = f"no sample of class {shown}"
    return Statistic(n=n, compute=compute, undefined=undefined, influence=influence)


def _from_here(values: FloatArray) -> FloatArray:
    """Returns the sums of each value and all after it."""
    return np.asarray(values[::-1].cumsum()[::-1])


def _checked(scores: ArrayLike, positives: ArrayLike) -> tuple[FloatArray, BoolArray]:
    ranking = float_vector("scores", scores, infinite=True)
    truth = flags("positives", positives)
    require_same_length(scores=ranking, positives=truth)
    return ranking, truth


def _balance(truth: BoolArray) -> str:
    return f"{truth.sum()} positive, {(~truth).sum()} negative"
