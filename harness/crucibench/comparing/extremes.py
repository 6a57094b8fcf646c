"""Paired differences of largest gaps and worst groups, by bounds of the means they are made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from crucibench.contracts.statistic import Extreme, GroupMeans, RowMetric
from crucibench.metrics.gap_change import GapSide, Paired, change_of_largest
from crucibench.stats import PairedDifference

Codes = NDArray[np.int64]


def extreme_difference(
    candidate: RowMetric, baseline: RowMetric, clusters: Codes | None, level: float
) -> PairedDifference | None:
    """Returns candidate minus baseline, or None where it is to be resampled.

    That is so where either is no extreme of group means, where the groups are not the same in both
    or one has no mean, where no answer differs, and where a cluster lies in several groups.
    """
    new, old = candidate.extreme, baseline.extreme
    if new is None or old is None or not _alike(new, old):
        return None
    if all(_same(one, other) for one, other in zip(new.parts, old.parts, strict=True)):
        return None
    if clusters is not None and any(_spans(part.codes, clusters) for part in new.parts):
        return None
    parts = []
    for one, other in zip(new.parts, old.parts, strict=True):
        sides = _side(one), _side(other)
        if sides[0] is None or sides[1] is None:
            return None
        parts.append(Paired(codes=one.codes, new=sides[0], old=sides[1]))
    found = change_of_largest(parts, new.largest, clusters=clusters, level=level)
    if found.interval is None:
        return None
    width = found.interval.upper - found.interval.lower
    error = width / 2 / -float(ndtri((1 - level) / 2))
    return PairedDifference(found.value, found.interval, error, found.p, found.interval.method)


def _alike(new: Extreme, old: Extreme) -> bool:
    return (new.largest, len(new.parts)) == (old.largest, len(old.parts)) and all(
        np.array_equal(one.codes, other.codes)
        for one, other in zip(new.parts, old.parts, strict=True)
    )


def _same(one: GroupMeans, other: GroupMeans) -> bool:
    return np.array_equal(one.numbers, other.numbers) and np.array_equal(one.among, other.among)


def _spans(codes: Codes, clusters: Codes) -> bool:
    known = codes >= 0
    pairs = np.unique(np.stack([clusters[known], codes[known]]), axis=1)
    return bool(pairs.shape[1] > len(np.unique(clusters[known])))


def _side(part: GroupMeans) -> GapSide | None:
    rows = np.flatnonzero(part.among & (part.codes >= 0))
    codes, numbers = part.codes[rows], part.numbers[rows]
    trials = np.bincount(codes, minlength=part.groups)
    if not trials.all():
        return None
    means = np.bincount(codes, weights=numbers, minlength=part.groups) / trials
    influence = np.zeros(len(part.codes))
    influence[rows] = (numbers - means[codes]) / trials[codes]
    return GapSide(values=means, influence=influence, trials=trials if part.proportion else None)
