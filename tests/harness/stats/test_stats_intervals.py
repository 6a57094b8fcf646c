"""Closed-form intervals against statsmodels, scipy and published tables."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from scipy.stats import binom
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from crucibench.stats import (
    Interval,
    clopper_pearson,
    newcombe_paired,
    newcombe_unpaired,
    normal,
    share_interval,
    wilson,
)

OURS = {"wilson": wilson, "beta": clopper_pearson}
SIZES = [10, 11, 20, 37, 50, 100, 300, 1000, 3000]
PROPORTIONS = np.arange(0.02, 0.981, 0.02)


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("method", OURS)
def test_bounds_and_enumerated_coverage_equal_statsmodels(
    method: str, n: int, level: float
) -> None:
    successes = np.arange(n + 1)
    ours = np.array([OURS[method](int(s), n, level)[:2] for s in successes])
    theirs = np.array(proportion_confint(successes, n, alpha=1 - level, method=method)).T
    assert_allclose(ours, theirs, rtol=0, atol=1e-12)

    def coverage(bounds: NDArray[np.float64]) -> NDArray[np.float64]:
        covered = (bounds[:, :1] <= PROPORTIONS) & (bounds[:, 1:] >= PROPORTIONS)
        probability = scipy.stats.binom.pmf(successes[:, None], n, PROPORTIONS)
        return (covered * probability).sum(axis=0)

    assert_allclose(coverage(ours), coverage(theirs), rtol=0, atol=1e-12)
    if method == "beta":
        assert coverage(ours).min() >= level - 1e-12
    else:
        # Wilson's coverage is about the level on average, and is not the exact method's.
        assert abs(coverage(ours).mean() - level) < 0.012


@pytest.mark.parametrize("n", [1, 10, 3000, 1_000_000])
@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
def test_the_ends_are_exact(interval: Callable[..., Interval], n: int) -> None:
    none, every = interval(0, n), interval(n, n)
    assert none.lower == 0.0
    assert every.upper == 1.0
    assert 0.0 < none.upper < 1.0
    assert 0.0 < every.lower < 1.0
    assert_allclose(none.upper, 1.0 - every.lower, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("n", [20, 100, 1000])
def test_a_share_is_covered_however_rare(n: int) -> None:
    # By enumeration; Wilson's alone covers 84 % at its lowest.
    intervals = np.array([share_interval(k, n)[:2] for k in range(n + 1)])
    lowest = min(
        binom.pmf(np.arange(n + 1), n, p)[(intervals[:, 0] <= p) & (p <= intervals[:, 1])].sum()
        for p in np.concatenate([np.geomspace(5e-4, 0.05, 150), np.linspace(0.05, 0.5, 150)])
    )
    assert lowest > 0.925
    assert share_interval(9, 100) == clopper_pearson(9, 100)
    assert share_interval(90, 100) == wilson(90, 100)


def test_clopper_pearson_is_the_binomial_tail() -> None:
    interval = clopper_pearson(7, 40, 0.95)
    assert_allclose(scipy.stats.binom.sf(6, 40, interval.lower), 0.025, rtol=1e-10)
    assert_allclose(scipy.stats.binom.cdf(7, 40, interval.upper), 0.025, rtol=1e-10)


counts = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None, max_examples=100)
@given(counts, st.floats(0.5, 0.999))
def test_wilson_stays_in_range_and_holds_the_estimate(count: tuple[int, int], level: float) -> None:
    successes, n = count
    interval = wilson(successes, n, level)
    assert 0.0 <= interval.lower <= successes / n <= interval.upper <= 1.0
    assert interval.level == level
    # Four times the evidence at the same share gives a shorter interval; more confidence a longer.
    finer = wilson(4 * successes, 4 * n, level)
    assert finer.upper - finer.lower < interval.upper - interval.lower
    surer = wilson(successes, n, (1 + level) / 2)
    assert surer.lower <= interval.lower
    assert surer.upper >= interval.upper
    mirrored = wilson(n - successes, n, level)
    assert_allclose(mirrored.lower, 1 - interval.upper, atol=1e-14)


def test_numpy_integers_are_counts_and_floats_are_not() -> None:
    assert wilson(np.int32(3), np.int64(10)) == wilson(3, 10)
    with pytest.raises(ValueError, match=r"successes: expected an integer, got 3\.0"):
        wilson(3.0, 10)


@pytest.mark.parametrize("interval", [wilson, clopper_pearson])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "n: expected an integer >= 1, got 0"),
        ((-1, 5), "successes: expected an integer >= 0, got -1"),
        ((6, 5), "successes: expected at most n = 5, got 6"),
        ((1, 5, 1.0), "level: expected a number strictly between 0 and 1, got 1.0"),
        ((1, 5, float("nan")), "level: expected a number strictly between 0 and 1, got nan"),
    ],
)
def test_bad_counts_are_refused(
    interval: Callable[..., Interval], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        interval(*arguments)


def test_normal_is_z_standard_errors_and_is_cut_off_at_bounds() -> None:
    interval = normal(0.4, 0.3, 0.95)
    assert_allclose(interval[:2], scipy.stats.norm.interval(0.95, 0.4, 0.3), rtol=1e-13)
    assert normal(0.4, 0.3, 0.95, bounds=(0, 1))[:2] == (0.0, interval.upper)
    assert normal(0.9, 0.3, 0.95, bounds=(0, 1)).upper == 1.0
    assert normal(0.9, 0.0) == Interval(0.9, 0.9, 0.95, "normal")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((math.nan, 1.0), "estimate: expected a finite number"),
        ((0.0, math.inf), "standard_error: expected a finite number"),
        ((0.0, -1.0), "standard_error: expected a number >= 0"),
        ((2.0, 1.0, 0.95, (0.0, 1.0)), "estimate: expected a number within bounds"),
    ],
)
def test_normal_refuses_what_it_cannot_use(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normal(*arguments)


# Newcombe 1998, Statistics in Medicine 17:873, table II, method 10.
NEWCOMBE_TABLE_II = [
    ((56, 70, 48, 80), (0.0524, 0.3339)),
    ((9, 10, 3, 10), (0.1705, 0.8090)),
    ((6, 7, 2, 7), (0.0582, 0.8062)),
    ((5, 56, 0, 29), (-0.0381, 0.1926)),
    ((0, 10, 0, 20), (-0.1611, 0.2775)),
    ((0, 10, 0, 10), (-0.2775, 0.2775)),
    ((10, 10, 0, 20), (0.6791, 1.0000)),
    ((10, 10, 0, 10), (0.6075, 1.0000)),
]


@pytest.mark.parametrize(("table", "published"), NEWCOMBE_TABLE_II)
def test_newcombe_unpaired_gives_the_published_examples(
    table: tuple[int, int, int, int], published: tuple[float, float]
) -> None:
    assert_allclose(newcombe_unpaired(*table)[:2], published, atol=5.1e-5)
    reference = confint_proportions_2indep(*table, compare="diff", method="newcomb")
    assert_allclose(newcombe_unpaired(*table)[:2], np.clip(reference, -1, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("table", "published"),
    [
        # Fagerland, Lydersen and Laake 2017, Statistical Analysis of Contingency Tables, ch. 8:
        # airway hyper-responsiveness (Bentur et al. 2009), complete response (Cavo et al. 2012).
        ((1, 1, 7, 12), (-0.507, -0.026)),
        ((59, 6, 16, 80), (-0.1186, -0.0046)),
    ],
)
def test_newcombe_paired_gives_the_published_examples(
    table: tuple[int, int, int, int], published: tuple[float, float]
) -> None:
    digits = 5.1e-4 if abs(published[0]) > 0.2 else 5.1e-5
    assert_allclose(newcombe_paired(*table)[:2], published, atol=digits)


def test_newcombe_paired_by_its_formula() -> None:
    n11, n10, n01, n00 = 70, 12, 5, 33
    n = 120
    l1, u1 = proportion_confint(n11 + n10, n, method="wilson")
    l2, u2 = proportion_confint(n11 + n01, n, method="wilson")
    p1, p2 = (n11 + n10) / n, (n11 + n01) / n
    phi = (n11 * n00 - n10 * n01 - n / 2) / math.sqrt(82 * 38 * 75 * 45)
    low = math.hypot(p1 - l1, u2 - p2) ** 2 - 2 * phi * (p1 - l1) * (u2 - p2)
    high = math.hypot(u1 - p1, p2 - l2) ** 2 - 2 * phi * (u1 - p1) * (p2 - l2)
    expected = (p1 - p2 - math.sqrt(low), p1 - p2 + math.sqrt(high))
    assert_allclose(newcombe_paired(n11, n10, n01, n00)[:2], expected, rtol=1e-12)
    # Uncorrelated pairs are two samples: it meets the unpaired interval there.
    independent = newcombe_paired(24, 24, 36, 36)
    assert_allclose(independent[:2], newcombe_unpaired(48, 120, 60, 120)[:2], rtol=1e-12)


def test_newcombe_paired_covers_by_enumeration_and_is_shorter_than_unpaired() -> None:
    n = 20
    axis = np.arange(n + 1)
    cells = np.array(np.meshgrid(axis, axis, axis)).reshape(3, -1).T
    cells = cells[cells.sum(axis=1) <= n]
    cells = np.column_stack([cells, n - cells.sum(axis=1)])
    bounds = np.array([newcombe_paired(*map(int, row))[:2] for row in cells])
    coverages = []
    for probabilities in ([0.6, 0.1, 0.05, 0.25], [0.3, 0.2, 0.2, 0.3], [0.5, 0.3, 0.02, 0.18]):
        mass = scipy.stats.multinomial.pmf(cells, n, probabilities)
        truth = probabilities[1] - probabilities[2]
        covered = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
        coverages.append(mass[covered].sum())
    assert min(coverages) > 0.94
    assert np.mean(coverages) < 0.98
    paired, unpaired = newcombe_paired(60, 8, 4, 28), newcombe_unpaired(68, 100, 64, 100)
    assert paired.upper - paired.lower < 0.6 * (unpaired.upper - unpaired.lower)


@settings(deadline=None, max_examples=100)
@given(st.tuples(*[st.integers(0, 300)] * 4).filter(any))
def test_newcombe_paired_is_in_range_antisymmetric_and_has_width(
    table: tuple[int, int, int, int],
) -> None:
    n11, n10, n01, n00 = table
    n = sum(table)
    interval = newcombe_paired(*table)
    assert -1.0 <= interval.lower <= (n10 - n01) / n + 1e-12
    assert (n10 - n01) / n - 1e-12 <= interval.upper <= 1.0
    assert interval.lower < interval.upper
    swapped = newcombe_paired(n11, n01, n10, n00)
    assert_allclose(swapped[:2], (-interval.upper, -interval.lower), atol=1e-12)


def test_newcombe_paired_does_not_overflow_at_a_million_samples() -> None:
    interval = newcombe_paired(700_000, 10_000, 12_000, 278_000)
    se = math.sqrt(22_000 - 2_000**2 / 1e6) / 1e6
    assert_allclose(interval[:2], (-0.002 - 1.96 * se, -0.002 + 1.96 * se), atol=2e-6)


@pytest.mark.parametrize(
    ("interval", "counts", "message"),
    [
        (newcombe_paired, (0, 0, 0, 0), "expected at least one pair, got 0"),
        (newcombe_paired, (1, -2, 0, 0), "n10: expected an integer >= 0, got -2"),
        (newcombe_unpaired, (1, 2, 0, 0), "n2: expected an integer >= 1, got 0"),
    ],
)
def test_newcombe_refuses_empty_tables(
    interval: Callable[..., Any], counts: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        interval(*counts)
