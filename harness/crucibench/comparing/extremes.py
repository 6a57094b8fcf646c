"""Paired differences of largest gaps and worst groups, by bounds of the means they are made of."""

from __future__ import annotations

from typing import Any, TypeAlias

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
    pairs, counts = list(zip(new.parts, old.parts, strict=True)), None
    if clusters is None:
        pairs, counts = _counted(pairs)
    parts = []
    for one, other in pairs:
        sides = _side(one, counts), _side(other, counts)
        if sides[0] is None or sides[1] is None:
            return None
        parts.append(Paired(codes=one.codes, new=sides[0], old=sides[1]))
    found = change_of_largest(
        parts, new.largest, clusters=clusters, counts=counts, level=level
    )  # fmt: skip
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


_Pair: TypeAlias = tuple[GroupMeans, GroupMeans]


def _counted(pairs: list[_Pair]) -> tuple[list[_Pair], Codes | None]:
    """Returns pairs of proportions over kinds of samples, and how many samples are of each kind.

    A kind is a group and an answer of each side in each part: they are few where samples are many.
    As they are, with no counts, where a mean is of other numbers or kinds may be many.
    """
    key, kinds = np.zeros(len(pairs[0][0].codes), dtype=np.int64), 1
    known: list[Codes] = []
    for one, other in pairs:
        if not (one.proportion and other.proportion):
            return pairs, None
        columns: list[tuple[NDArray[Any], int]]
        columns = [(flags, 2) for part in (one, other) for flags in (part.among, part.numbers)]
        if not any(one.codes is codes for codes in known):
            known.append(one.codes)
            columns.append((one.codes + 1, one.groups + 1))
        for column, size in columns:
            kinds *= size
            if kinds > len(key):
                return pairs, None
            key *= size
            key += column.astype(np.int64)
    counts = np.bincount(key, minlength=kinds)
    first = np.zeros(kinds, dtype=np.int64)
    first[key] = np.arange(len(key))
    rows = first[counts > 0]

    def of_kinds(part: GroupMeans) -> GroupMeans:
        return GroupMeans(
            part.codes[rows], part.numbers[rows], part.among[rows], part.groups, proportion=True
        )

    return [(of_kinds(one), of_kinds(other)) for one, other in pairs], counts[counts > 0]


def _side(part: GroupMeans, counts: Codes | None) -> GapSide | None:
    rows = np.flatnonzero(part.among & (part.codes >= 0))
    codes, numbers = part.codes[rows], part.numbers[rows]
    times = np.ones(len(rows)) if counts is None else counts[rows].astype(np.float64)
    trials = np.bincount(codes, weights=times, minlength=part.groups)
    if not trials.all():
        return None
    means = np.bincount(codes, weights=numbers * times, minlength=part.groups) / trials
    influence = np.zeros(len(part.codes))
    influence[rows] = (numbers - means[codes]) / trials[codes]
    of = trials.astype(np.int64) if part.proportion else None
    return GapSide(values=means, influence=influence, trials=of)
