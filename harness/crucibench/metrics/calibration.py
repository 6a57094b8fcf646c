"""Calibration: do predictions of confidence c come true in a share c of cases?

An expected calibration error depends on how it is binned, so that binning and norm are
arguments here and part of the metric's id.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from crucibench.contracts.statistic import Statistic, Sums
from crucibench.metrics._bins import (
    Binning,
    BinSummer,
    BinSums,
    EqualWidthBins,
    bin_sums,
    equal_width_index,
    sums_of,
)
from crucibench.metrics._inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    class_indices,
    flags,
    probability_matrix,
    probability_vector,
    require_same_length,
)
from crucibench.metrics._rows import plain, row_sums

Norm = Literal["l1", "l2", "max"]
"""How bins are joined: mean absolute gap (ECE), root mean squared gap, largest gap (MCE)."""

_STEMS = {"l1": "ece", "l2": "ece-l2", "max": "mce"}


def top_label(
    probabilities: ArrayLike, targets: ArrayLike, predictions: ArrayLike | None = None
) -> tuple[FloatArray, BoolArray]:
    """Returns the confidence of each prediction and whether it was correct.

    Args:
        probabilities: shape (n, K), rows summing to 1.
        targets: class indices, shape (n,).
        predictions: the classes that the task's decision rule chose, shape (n,); where not given,
            the class of highest probability, the first of tied ones.

    Returns:
        The predicted classes' probabilities (n,) and hits (n,).

    Raises:
        ValueError: if probabilities are none, an index is out of range, or lengths differ.
    """
    matrix = probability_matrix("probabilities", probabilities)
    classes = matrix.shape[1]
    truth = class_indices("targets", targets, classes)
    labels = matrix.argmax(axis=1) if predictions is None else predictions
    chosen = class_indices("predictions", labels, classes)
    require_same_length(probabilities=matrix, targets=truth, predictions=chosen)
    return np.take_along_axis(matrix, chosen[:, None], axis=1)[:, 0], chosen == truth


def calibration_error_id(
    view: Literal["top-label", "positive-class"],
    *,
    bins: int = 15,
    binning: Binning = "equal-width",
    norm: Norm = "l1",
    debias: bool = False,
) -> str:
    """Returns the id of a calibration error, e.g. ``ece-15-equal-width-top-label``."""
    parts = [_STEMS[norm], str(bins), binning]
    parts += ["debiased"] if debias else []
    return "-".join([*parts, view])


def calibration_error_statistic(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    bins: int = 15,
    binning: Binning = "equal-width",
    norm: Norm = "l1",
    debias: bool = False,
    sums: BinSummer | None = None,
) -> Statistic:
    """Returns a binned calibration error.

    The gap of a bin is |mean confidence - share correct|; bins count by their number of samples,
    empty ones not at all.

    Args:
        confidence: a probability per sample, shape (n,): of the predicted class (top-label), or of
            the positive class.
        correct: whether it came true (prediction right, or sample positive), shape (n,).
        bins: how many, at least 1.
        binning: "equal-width" cuts [0, 1] into (lo, hi], with 0 in the first bin (Guo et al. 2017);
            "equal-mass" puts a sample whose confidence has mid-rank
            r (from 0 to n, ties sharing theirs) in bin floor(bins r / n), so that ties are never
            split and the order of samples doesn't matter.
        norm: see `Norm`.
        debias: with "l2" only: subtracts acc (1 - acc) / (count - 1) from the squared gap of every
            bin of two or more samples, and takes the root of what is left, at least 0 (Kumar, Liang
            and Ma, "Verified Uncertainty Calibration", NeurIPS 2019, section 5).
        sums: `bin_sums` of the same samples and bins, where several errors share them.

    Returns:
        Values in [0, 1].

    Raises:
        ValueError: if an option is unknown, `debias` is used with another norm, a confidence is
            outside [0, 1], or lengths differ.
    """
    if norm not in _STEMS:
        raise ValueError(f"norm: expected one of {', '.join(_STEMS)}, got {norm!r}")
    if debias and norm != "l2":
        raise ValueError(f"debias: expected norm 'l2' with it, got {norm!r}")
    level, came_true = _checked(confidence, correct)
    sums = sums or bin_sums(level, came_true, bins=bins, binning=binning)

    def compute(weights: FloatArray) -> FloatArray:
        return joined(sums(weights), row_sums(weights))

    def of_sums(summed: FloatArray) -> FloatArray:
        parts = sums.split(summed)
        return joined(parts, row_sums(parts.mass))

    def joined(parts: BinSums, total: FloatArray) -> FloatArray:
        mass, gap, hits = parts
        if norm == "l1":
            return row_sums(np.abs(gap)) / total
        filled = np.where(mass > 0, mass, 1.0)
        if norm == "max":
            worst = np.abs(gap / filled).max(axis=1)
            return np.where(total > 0, worst, np.nan)
        squared = gap**2 / filled
        if debias:
            share = hits / filled
            squared -= np.where(mass > 1, mass * share * (1 - share) / (mass - 1), 0.0)
        return np.sqrt(np.maximum(row_sums(squared) / total, 0.0))

    def influence() -> FloatArray:
        # A sample moves the mean absolute gap by its own gap, in the sense of its bin's.
        gaps = level - came_true
        index = equal_width_index(level, bins=bins)
        total = np.bincount(index, weights=gaps, minlength=bins)
        error = np.abs(total).sum() / len(gaps)
        return np.asarray((np.sign(total)[index] * gaps - error) / len(gaps))

    return Statistic(
        n=len(level), compute=compute, undefined="no samples", width=4 * bins,
        influence=influence if norm == "l1" and binning == "equal-width" else None,
        sums=lambda: Sums(3 * bins, sums.by_group, of_sums),
    )  # fmt: skip


def classwise_calibration_error_statistic(
    probabilities: ArrayLike, targets: ArrayLike, *, bins: int = 15
) -> Statistic:
    """Returns the classwise ECE (static calibration error; Nixon et al. 2019, Kull et al. 2019).

    For every class the equal-width ECE of its probability against "the target is this class", over
    all samples; then the plain mean over all K classes, also those without samples.

    Args:
        probabilities: shape (n, K), rows summing to 1.
        targets: class indices, shape (n,).
        bins: how many per class, at least 1.

    Returns:
        Values in [0, 1].

    Raises:
        ValueError: if probabilities are none, an index is out of range, or lengths differ.
    """
    matrix = probability_matrix("probabilities", probabilities)
    n, classes = matrix.shape
    truth = class_indices("targets", targets, classes)
    require_same_length(probabilities=matrix, targets=truth)

    @cache
    def spreads() -> list[csr_array]:
        return [
            EqualWidthBins(column, bins=bins).spread(column - (truth == k))
            for k, column in enumerate(matrix.T)
        ]

    @cache
    def as_they_are() -> list[FloatArray]:
        one_group = np.zeros(n, dtype=np.int64)
        return [gaps_of(k, one_group, 1) for k in range(classes)]

    def compute(weights: FloatArray) -> FloatArray:
        if plain(weights):  # adds in the same order, without a sort
            gaps = as_they_are()
        else:
            columns = np.ascontiguousarray(weights.T)
            gaps = [sums_of(part, columns) for part in spreads()]
        total = np.zeros(len(weights))
        for gap in gaps:
            total += row_sums(np.abs(gap))
        return np.asarray(total / classes / row_sums(weights))

    def gaps_of(k: int, codes: IntArray, groups: int) -> FloatArray:
        column = np.ascontiguousarray(matrix[:, k])
        cells = codes * bins + equal_width_index(column, bins=bins)
        found = np.bincount(cells, column - (truth == k), groups * bins)
        return found.reshape(groups, bins).astype(np.float64, copy=False)

    def by_group(codes: IntArray, groups: int) -> FloatArray:
        counts = np.bincount(codes, minlength=groups)[:, None].astype(np.float64)
        gaps = [gaps_of(k, codes, groups) for k in range(classes)]
        return np.concatenate([counts, *gaps], axis=1)

    def of_sums(summed: FloatArray) -> FloatArray:
        return np.asarray(row_sums(np.abs(summed[:, 1:])) / classes / summed[:, 0])

    return Statistic(
        n=n, compute=compute, undefined="no samples", width=2 * bins,
        sums=lambda: Sums(1 + bins * classes, by_group, of_sums),
    )  # fmt: skip


@final
@dataclass(frozen=True, kw_only=True)
class ReliabilityDiagram:
    """What a reliability diagram draws, one entry per bin.

    Attributes:
        lower: left end.
        upper: right end.
        count: samples in the bin, int64.
        confidence: their mean confidence; nan where the bin is empty.
        accuracy: the share that came true; nan where the bin is empty.
        hits: how many came true, int64: for intervals of `accuracy`.
    """

    lower: FloatArray
    upper: FloatArray
    count: IntArray
    confidence: FloatArray
    accuracy: FloatArray
    hits: IntArray


def reliability_diagram(
    confidence: ArrayLike, correct: ArrayLike, *, bins: int = 15
) -> ReliabilityDiagram:
    """Returns the reliability diagram by equal width; as for `calibration_error_statistic`."""
    level, came_true = _checked(confidence, correct)
    sums = bin_sums(level, came_true, bins=bins, binning="equal-width")
    if len(level):
        count, gap, hits = (part[0] for part in sums(np.ones((1, len(level)))))
    else:
        count = gap = hits = np.zeros(bins)
    filled = np.where(count > 0, count, np.nan)
    edges = np.arange(bins + 1) / bins
    return ReliabilityDiagram(
        lower=edges[:-1],
        upper=edges[1:],
        count=count.astype(np.int64),
        confidence=(gap + hits) / filled,
        accuracy=hits / filled,
        hits=hits.astype(np.int64),
    )


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, BoolArray]:
    level = probability_vector("confidence", confidence)
    came_true = flags("correct", correct)
    require_same_length(confidence=level, correct=came_true)
    return level, came_true
