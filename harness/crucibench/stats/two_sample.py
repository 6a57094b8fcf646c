"""Do two samples come from one distribution? Tests of one column, numbers or categories.

Real columns have ties (pixels, counts, ages), for which the tables of Kolmogorov and Smirnov are
too cautious: there the p-value is that of a permutation test. Under random labels the counts of
equal values are multivariate hypergeometric.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks
from crucibench.stats.resampling import MAX_CELLS, block_rows, generator

PERMUTATIONS = 9999
MOST_VALUES = 2000
"""Distinct values up to which ties are permuted; with more, few are tied, and the table serves."""
LEAST_EXPECTED = 5.0
"""Expected count of a cell below which the chi-square approximation is not relied on."""
_EXACT_UP_TO = 1000


@dataclass(frozen=True, slots=True)
class TwoSampleTest:
    """A test that two samples come from one distribution.

    Attributes:
        statistic: what was measured; nan where it can't be.
        p_value: in (0, 1]; nan where there is none, and then ``reason`` says why.
        method: what gave the p-value.
        first: size of the first sample.
        second: size of the second sample.
        reason: why there is no p-value; None where there is one.
    """

    statistic: float
    p_value: float
    method: str
    first: int
    second: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Stability:
    """A population stability index.

    Attributes:
        index: sum of (q - p) ln(q / p) over bins, >= 0.
        noise: what it is below in 95 of 100 pairs of samples of these sizes from one distribution.
            The customary 0.1 and 0.25 know no sample size.
        bins: how many there are.
    """

    index: float
    noise: float
    bins: int


def kolmogorov_smirnov(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    stream: str,
    permutations: int = PERMUTATIONS,
) -> TwoSampleTest:
    """Test whether two samples of numbers come from one distribution.

    Args:
        first: (n,) finite numbers.
        second: (m,) finite numbers.
        seed: Any integer.
        stream: Name of the draw.
        permutations: Random labellings, where values are tied.

    Returns:
        The largest distance of the two empirical distribution functions, in [0, 1]. Its p-value is
        exact without ties up to 1,000 values a side and asymptotic beyond; with ties, up to 2,000
        distinct values, it is a permutation p-value. Where no permutation comes as far, it is the
        asymptotic one if that is smaller: with ties this is an upper bound.

    Raises:
        ValueError: A value that is not finite, or no permutations.

    Source:
        Hodges 1958, Arkiv foer Matematik 3:469.
    """
    left, right = _checks.vector("first", first), _checks.vector("second", second)
    permutations = _checks.count("permutations", permutations, minimum=1)
    n, m = left.size, right.size
    if not n or not m:
        return _none(n, m, "a sample is empty")
    values, table = _table(left, right)
    distance = float(_distances(table[0][None], table.sum(axis=0), n, m)[0])
    if values == 1:
        return TwoSampleTest(0.0, 1.0, "kolmogorov-smirnov", n, m)
    if values == n + m or values > MOST_VALUES:
        exact = values == n + m and max(n, m) <= _EXACT_UP_TO
        p = _tabled(left, right, exact=exact)
        return TwoSampleTest(distance, p, "kolmogorov-smirnov", n, m)
    pooled = table.sum(axis=0)
    hits = 0
    for drawn in _labellings(pooled, n, permutations, seed, stream):
        hits += int(np.count_nonzero(_distances(drawn, pooled, n, m) >= distance - 1e-12))
    p = (1 + hits) / (permutations + 1)
    if not hits:
        p = min(p, _tabled(left, right, exact=False))
    return TwoSampleTest(distance, p, f"kolmogorov-smirnov-permutation-{permutations}", n, m)


def chi_square(
    first: ArrayLike,
    second: ArrayLike,
    *,
    seed: int,
    stream: str,
    permutations: int = PERMUTATIONS,
) -> TwoSampleTest:
    """Test whether two samples of categories come from one distribution.

    Args:
        first: (n,) integer or string codes.
        second: (m,) codes of the same type.
        seed: Any integer.
        stream: Name of the draw.
        permutations: Random labellings, where an expected count is below 5.

    Returns:
        Pearson's chi-square of the table of two rows. A single category in both is no evidence:
        statistic 0, p-value 1.

    Raises:
        ValueError: Codes of another type, or no permutations.

    Source:
        Pearson 1900, Philosophical Magazine 50:157; permutations, Agresti 2013, Categorical Data
        Analysis, section 3.5.
    """
    left, right = np.asarray(first), np.asarray(second)
    permutations = _checks.count("permutations", permutations, minimum=1)
    n, m = left.size, right.size
    if not n or not m:
        return _none(n, m, "a sample is empty")
    _checks.codes("first", left, n)
    _checks.codes("second", right, m)
    values, table = _table(left, right)
    if values == 1:
        return TwoSampleTest(0.0, 1.0, "chi-square", n, m)
    pooled = table.sum(axis=0)
    statistic = float(_pearson(table[0][None], pooled, n, m)[0])
    if pooled.min() * min(n, m) / (n + m) >= LEAST_EXPECTED:
        from scipy.special import chdtrc

        return TwoSampleTest(statistic, float(chdtrc(values - 1, statistic)), "chi-square", n, m)
    hits = 0
    least = statistic * (1 - 1e-12)
    for drawn in _labellings(pooled, n, permutations, seed, stream):
        hits += int(np.count_nonzero(_pearson(drawn, pooled, n, m) >= least))
    p = (1 + hits) / (permutations + 1)
    return TwoSampleTest(statistic, p, f"chi-square-permutation-{permutations}", n, m)


def population_stability(reference: ArrayLike, sample: ArrayLike, *, bins: int = 10) -> Stability:
    """Measure how far a sample's distribution has moved from a reference's.

    Numbers are put into bins between quantiles of the reference, equal edges counted once;
    categories into one bin each. Half a count is added to each bin, so that empty ones are finite.

    Args:
        reference: (n,) finite numbers, or string codes; n >= 1.
        sample: (m,) of the same type; m >= 1.
        bins: Bins of numbers, at least 2.

    Returns:
        The index and its noise: under one distribution it tends to (1/n + 1/m) times a chi-square
        of bins - 1 degrees of freedom.

    Raises:
        ValueError: An empty sample, a value that is not finite, or too few bins.

    Source:
        Siddiqi 2006, Credit Risk Scorecards; its distribution, Yurdakul 2018, Statistical
        Properties of Population Stability Index, section 3.
    """
    from scipy.special import chdtri

    bins = _checks.count("bins", bins, minimum=2)
    left, right = np.asarray(reference), np.asarray(sample)
    if not left.size or not right.size:
        raise ValueError("reference and sample: expected at least one value each")
    if left.dtype.kind in "biuf":
        left, right = _checks.vector("reference", left), _checks.vector("sample", right)
        inner = np.quantile(left, np.arange(1, bins) / bins, method="inverted_cdf")
        edges = np.unique(inner)
        # The largest value as an edge would leave nothing above it.
        edges = edges[edges < left.max()]
        left, right = (np.searchsorted(edges, side) for side in (left, right))
        count = edges.size + 1
        table = np.stack([np.bincount(side, minlength=count) for side in (left, right)])
    else:
        _checks.codes("reference", left, left.size)
        _checks.codes("sample", right, right.size)
        count, table = _table(left, right)
    shares = (table + 0.5) / (table.sum(axis=1, keepdims=True) + 0.5 * count)
    index = float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))
    noise = 0.0
    if count > 1:
        noise = float(chdtri(count - 1, 0.05)) * (1 / left.size + 1 / right.size)
    return Stability(index, noise, int(count))


def _none(n: int, m: int, reason: str) -> TwoSampleTest:
    return TwoSampleTest(float("nan"), float("nan"), "none", n, m, reason)


def _table(left: NDArray[np.generic], right: NDArray[np.generic]) -> tuple[int, NDArray[np.int64]]:
    """Return how many distinct values there are, and the counts of each in either sample."""
    values, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    sides = (codes[: left.size], codes[left.size :])
    counts = [np.bincount(side, minlength=values.size) for side in sides]
    return int(values.size), np.stack(counts).astype(np.int64)


def _labellings(
    pooled: NDArray[np.int64], n: int, permutations: int, seed: int, stream: str
) -> list[NDArray[np.int64]]:
    """Return the first sample's counts under random labels, in blocks (B, values)."""
    rng = generator(seed, stream)
    return [
        rng.multivariate_hypergeometric(pooled, n, size=rows, method="marginals")
        for rows in block_rows(permutations, pooled.size, MAX_CELLS)
    ]


def _distances(
    counts: NDArray[np.int64], pooled: NDArray[np.int64], n: int, m: int
) -> NDArray[np.float64]:
    ours = np.cumsum(counts, axis=1)
    all_of_it = np.cumsum(pooled)
    gaps: NDArray[np.float64] = np.abs(ours / n - (all_of_it - ours) / m)
    largest: NDArray[np.float64] = gaps.max(axis=1)
    return largest


def _pearson(
    counts: NDArray[np.int64], pooled: NDArray[np.int64], n: int, m: int
) -> NDArray[np.float64]:
    expected = pooled * (n / (n + m))
    # Both rows of the table deviate by the same number, so one sum gives the whole statistic.
    each = (counts - expected) ** 2 * (1 / expected + 1 / (pooled - expected))
    total: NDArray[np.float64] = each.sum(axis=1)
    return total


def _tabled(left: NDArray[np.float64], right: NDArray[np.float64], *, exact: bool) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(left, right, method="exact" if exact else "asymp").pvalue)
