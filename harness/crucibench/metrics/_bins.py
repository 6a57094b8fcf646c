"""Sums by bins of confidence, under row weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crucibench.metrics._inputs import BoolArray, FloatArray, IntArray
from crucibench.metrics._rows import plain
from crucibench.metrics._ties import TieGroups
from crucibench.metrics.statistic import SharedParts

Binning = Literal["equal-width", "equal-mass"]
Index = NDArray[np.unsignedinteger[Any]]
"""The bin of each sample, in as few bytes as hold it."""

_COUNTED = 32
"""Most bins whose edges are held against all confidences, one after the other."""


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
        self, weighted: Callable[[FloatArray], BinSums], index: Index, bins: int,
        confidence: FloatArray, correct: BoolArray,
    ) -> None:  # fmt: skip
        """Takes the sums under weights (b, n), n > 0, and each sample's bin at weights of one."""
        self._weighted = SharedParts(weighted)
        self._index, self._confidence, self._correct = index, confidence, correct
        self.bins = bins
        self._last: tuple[IntArray, FloatArray] | None = None

    def __call__(self, weights: FloatArray) -> BinSums:
        """Returns the sums under weights (b, n)."""
        return self._weighted(weights)

    def by_group(self, codes: IntArray, groups: int) -> FloatArray:
        """Returns the sums of each group of samples, (groups, 3 bins), as `split` takes them.

        Bins stay where they are for all samples: where an edge of equal-mass bins moves a little,
        samples go from a bin to its neighbour, whose gap is nearly the same.

        Args:
            codes: each sample's group, (n,), from 0.
            groups: how many there are.
        """
        if self._last is None or self._last[0] is not codes:
            cells = codes * self.bins + self._index
            parts = [
                np.bincount(cells, column, groups * self.bins).reshape(groups, self.bins)
                for column in (None, self._confidence - self._correct, self._correct)
            ]
            self._last = codes, np.concatenate(parts, axis=1, dtype=np.float64)
        return self._last[1]

    def split(self, sums: FloatArray) -> BinSums:
        """Returns sums (b, 3 bins) by what they are of."""
        return BinSums(*(np.ascontiguousarray(part) for part in np.split(sums, 3, axis=1)))


def bin_sums(
    confidence: FloatArray, correct: BoolArray, *, bins: int, binning: Binning
) -> BinSummer:
    """Returns what sums by bins of confidence.

    Raises:
        ValueError: if `bins` < 1, or `binning` is unknown.
    """
    if binning == "equal-width":
        index = equal_width_index(confidence, bins=bins)
        weighted = _equal_width(confidence, index, correct, bins)
        return BinSummer(weighted, index, bins, confidence, correct)
    if binning != "equal-mass":
        raise ValueError(f"binning: expected equal-width or equal-mass, got {binning!r}")
    _require_bins(bins)
    groups = TieGroups(confidence)
    index = _equal_mass_index(groups, len(correct), bins)
    weighted = _equal_mass(groups, confidence, correct, bins)
    return BinSummer(weighted, index, bins, confidence, correct)


def equal_width_index(confidence: FloatArray, *, bins: int) -> Index:
    """Returns the bin of each confidence, shape (n,); errors as of `EqualWidthBins`."""
    _require_bins(bins)
    edges = np.arange(1, bins) / bins
    kind = np.min_scalar_type(bins)
    if bins > _COUNTED:
        return np.searchsorted(edges, confidence, side="left").astype(kind)
    index = np.zeros(len(confidence), dtype=kind)
    for edge in edges:  # of few edges a tenth of a search's time
        index += confidence > edge
    return index


@final
class EqualWidthBins:
    """Confidences put into equal-width bins; the edges are the floats nearest to j / bins.

    Raises:
        ValueError: if `bins` < 1.
    """

    def __init__(self, confidence: FloatArray, *, bins: int) -> None:
        index = equal_width_index(confidence, bins=bins)
        # Integers of 16 bits are sorted by radix, several times faster.
        self._order = np.argsort(index, kind="stable").astype(np.int32)
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
    confidence: FloatArray, index: Index, correct: BoolArray, bins: int
) -> Callable[[FloatArray], BinSums]:
    @cache
    def parts() -> list[csr_array]:
        cut = EqualWidthBins(confidence, bins=bins)
        columns = np.ones(len(correct)), confidence - correct, correct
        return [cut.spread(column) for column in columns]

    def sums(weights: FloatArray) -> BinSums:
        if plain(weights):  # adds in the same order, without a sort
            columns = None, confidence - correct, correct
            found = (np.bincount(index, column, bins) for column in columns)
            return BinSums(*(column[None].astype(np.float64) for column in found))
        turned = np.ascontiguousarray(weights.T)
        return BinSums(*(sums_of(part, turned) for part in parts()))

    return sums


def _equal_mass(
    groups: TieGroups, confidence: FloatArray, correct: BoolArray, bins: int
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
            by_bin(groups.sums(weights, confidence - correct)),
            by_bin(groups.sums(weights, correct)),
        )

    return sums


def _equal_mass_index(groups: TieGroups, n: int, bins: int) -> Index:
    kind = np.min_scalar_type(bins)
    if not n:
        return np.zeros(0, dtype=kind)
    mass = groups.sums(np.ones((1, n)))[0]
    place = (mass.cumsum() - 0.5 * mass) * bins / n
    found: Index = np.searchsorted(np.arange(1.0, bins), place, side="right").astype(kind)
    return np.asarray(found[groups.rows()])


def _require_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")
