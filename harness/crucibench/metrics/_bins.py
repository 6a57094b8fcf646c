"""Sums by bins of confidence, under row weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, final

import numpy as np
from scipy.sparse import csr_array

from crucibench.metrics._inputs import BoolArray, FloatArray, IntArray
from crucibench.metrics._ties import TieGroups
from crucibench.metrics.statistic import SharedParts

Binning = Literal["equal-width", "equal-mass"]
Edge = Literal["right-closed", "left-closed"]


_SIDES: Mapping[Edge, Literal["left", "right"]] = {"right-closed": "left", "left-closed": "right"}


class BinSums(NamedTuple):
    """Weighted sums per bin, each of shape (b, bins)."""

    mass: FloatArray
    """How many samples."""
    gap: FloatArray
    """The sum of confidence - correct."""
    hits: FloatArray
    """The sum of correct."""


@final
class BinSummer:
    """Sums per bin, computed once for the several errors that are made of them."""

    def __init__(
        self,
        weighted: Callable[[FloatArray], BinSums],
        without: Callable[[IntArray, int], BinSums],
    ) -> None:
        """Takes the sums under weights (b, n), n > 0, and those without groups of samples."""
        self._weighted = SharedParts(weighted)
        self._without = without
        self._last: tuple[IntArray, BinSums] | None = None

    def __call__(self, weights: FloatArray) -> BinSums:
        """Returns the sums under weights (b, n)."""
        return self._weighted(weights)

    def without(self, codes: IntArray, groups: int) -> BinSums:
        """Returns the sums without each group of samples: those of group g in row g.

        Args:
            codes: each sample's group, (n,), from 0.
            groups: how many there are.
        """
        if self._last is None or self._last[0] is not codes:
            self._last = codes, self._without(codes, groups)
        return self._last[1]


def bin_sums(
    confidence: FloatArray, correct: BoolArray, *, bins: int, binning: Binning, edge: Edge
) -> BinSummer:
    """Returns what sums by bins of confidence.

    Raises:
        ValueError: if `bins` < 1, or `binning` or `edge` is unknown.
    """
    if binning == "equal-width":
        return BinSummer(
            _equal_width(confidence, correct, bins, edge),
            _equal_width_without(confidence, correct, bins, edge),
        )
    if binning != "equal-mass":
        raise ValueError(f"binning: expected equal-width or equal-mass, got {binning!r}")
    _require_bins(bins)
    groups, gaps = TieGroups(confidence), confidence - correct
    return BinSummer(
        _equal_mass(groups, gaps, correct, bins), _equal_mass_without(groups, gaps, correct, bins)
    )


def equal_width_index(confidence: FloatArray, *, bins: int, edge: Edge) -> IntArray:
    """Returns the bin of each confidence, shape (n,); errors as of `EqualWidthBins`."""
    _require_bins(bins)
    if edge not in _SIDES:
        raise ValueError(f"edge: expected {' or '.join(_SIDES)}, got {edge!r}")
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side=_SIDES[edge])


@final
class EqualWidthBins:
    """Confidences put into equal-width bins; the edges are the floats nearest to j / bins.

    Raises:
        ValueError: if `bins` < 1 or `edge` is unknown.
    """

    def __init__(self, confidence: FloatArray, *, bins: int, edge: Edge) -> None:
        index = equal_width_index(confidence, bins=bins, edge=edge)
        # Integers of 16 bits are sorted by radix, several times faster.
        narrow = index.astype(np.min_scalar_type(bins))
        self._order = np.argsort(narrow, kind="stable").astype(np.int32)
        self._pointers = np.zeros(bins + 1, dtype=np.int32)
        self._pointers[1:] = np.bincount(index, minlength=bins).cumsum()
        self._shape = (bins, len(confidence))

    def spread(self, numbers: FloatArray | BoolArray) -> csr_array:
        """Returns the matrix (bins, n) that takes weights (n, b) to sums of `numbers` per bin."""
        data = numbers[self._order].astype(np.float64)
        return csr_array((data, self._order, self._pointers), shape=self._shape)


def sums_of(spread: csr_array, columns: FloatArray) -> FloatArray:
    """Returns a spread's sums per bin, (b, bins), under weights given as columns (n, b).

    Contiguous, so that later sums add in the same order for any b.
    """
    return np.ascontiguousarray((spread @ columns).T)


def _equal_width(
    confidence: FloatArray, correct: BoolArray, bins: int, edge: Edge
) -> Callable[[FloatArray], BinSums]:
    cut = EqualWidthBins(confidence, bins=bins, edge=edge)
    parts = [
        cut.spread(np.ones(len(correct))),
        cut.spread(confidence - correct),
        cut.spread(correct),
    ]

    def sums(weights: FloatArray) -> BinSums:
        columns = np.ascontiguousarray(weights.T)
        return BinSums(*(sums_of(part, columns) for part in parts))

    return sums


def _equal_mass(
    groups: TieGroups, gaps: FloatArray, correct: BoolArray, bins: int
) -> Callable[[FloatArray], BinSums]:
    def sums(weights: FloatArray) -> BinSums:
        mass = groups.sums(weights)
        upto = mass.cumsum(axis=1)
        total = np.where(upto[:, -1:] > 0, upto[:, -1:], 1.0)
        upto -= 0.5 * mass
        upto *= bins
        upto /= total
        # Bins follow each other, so that each is a run of groups.
        cuts = np.arange(1.0, bins)
        first = np.zeros((len(mass), bins), dtype=np.int64)
        for row, place in zip(first, upto, strict=True):
            row[1:] = np.searchsorted(place, cuts)
        sizes = np.diff(first, axis=1, append=mass.shape[1])
        first += np.arange(len(mass))[:, None] * mass.shape[1]

        def by_bin(parts: FloatArray) -> FloatArray:
            # One cell more, for bins without groups at the end to begin at.
            summed = np.add.reduceat(np.append(parts, 0.0), first.ravel())
            return np.where(sizes > 0, summed.reshape(-1, bins), 0.0)

        return BinSums(
            by_bin(mass),
            by_bin(groups.sums(weights, gaps)),
            by_bin(groups.sums(weights, correct)),
        )

    return sums


def _equal_width_without(
    confidence: FloatArray, correct: BoolArray, bins: int, edge: Edge
) -> Callable[[IntArray, int], BinSums]:
    def sums(codes: IntArray, groups: int) -> BinSums:
        cells = codes * bins + equal_width_index(confidence, bins=bins, edge=edge)
        found = []
        for column in (None, confidence - correct, correct):
            part = np.bincount(cells, column, groups * bins).reshape(groups, bins)
            found.append(part.sum(axis=0) - part)
        return BinSums(*found)

    return sums


def _equal_mass_without(
    ties: TieGroups, gaps: FloatArray, correct: BoolArray, bins: int
) -> Callable[[IntArray, int], BinSums]:
    def sums(codes: IntArray, groups: int) -> BinSums:
        # Running sums: of all samples by tie, and of those of each group in the order of ties.
        running = ties.cumulated(np.ones((1, len(codes))), gaps, correct)
        whole = [np.append(0.0, one[0]) for one in running]
        count = len(whole[0]) - 1
        keys = codes.astype(np.int64) * count + ties.rows()
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        parts = [np.arange(len(codes) + 1.0)]
        parts += [np.append(0.0, column[order].cumsum()) for column in (gaps, correct)]
        first = np.arange(groups)[:, None] * count
        begin = np.searchsorted(keys, first)

        def left(ties_below: IntArray) -> FloatArray:
            """How many samples of other groups are in the first so many ties, (groups, cuts)."""
            own = np.searchsorted(keys, first + ties_below) - begin
            return np.asarray(whole[0][ties_below] - own)

        total = np.maximum(left(np.full((groups, 1), count)), 1)
        cuts = np.arange(1.0, bins)[None]
        low = np.zeros((groups, bins - 1), dtype=np.int64)
        high = np.full_like(low, count)
        while (low < high).any():
            # The first tie whose mid-rank reaches the cut: as under weights, tie by tie.
            at = np.minimum((low + high) // 2, count - 1)
            below, after = left(at), left(at + 1)
            reached = (after - 0.5 * (after - below)) * bins / total >= cuts
            high = np.where(reached & (low < high), at, high)
            low = np.where(~reached & (low < high), at + 1, low)
        edges = (np.zeros((groups, 1), np.int64), low, np.full((groups, 1), count))
        ends = np.concatenate(edges, axis=1)
        places = np.searchsorted(keys, first + ends)
        found = (
            np.diff(one[ends] - part[places], axis=1)
            for one, part in zip(whole, parts, strict=True)
        )
        return BinSums(*found)

    return sums


def _require_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")
