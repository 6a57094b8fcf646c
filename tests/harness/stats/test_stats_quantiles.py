"""Quantiles by order statistics, and LoadGen's numbers of queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from crucibench.stats import (
    allowed_over,
    early_stopping_rank,
    minimum_queries,
    quantile_rank,
    quantile_ranks,
)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        (0, (44, 90, 459, 4_603)),
        (1, (64, 130, 662, 6_636)),
        (5, (127, 259, 1_307, 13_105)),
        (10, (197, 398, 2_010, 20_140)),
        (100, (1_246, 2_504, 12_571, 125_826)),
    ],
)
def test_minimum_queries_are_loadgens(over: int, expected: tuple[int, ...]) -> None:
    assert tuple(minimum_queries(over, share) for share in (0.9, 0.95, 0.99, 0.999)) == expected


@given(st.integers(0, 40), st.sampled_from([0.5, 0.9, 0.99]))
def test_minimum_queries_is_the_smallest_that_passes(over: int, share: float) -> None:
    n = minimum_queries(over, share)
    assert scipy_stats.binom.cdf(over, n, 1 - share) <= 0.01
    assert scipy_stats.binom.cdf(over, n - 1, 1 - share) > 0.01


@given(st.integers(0, 20_000), st.sampled_from([0.5, 0.9, 0.99]))
def test_allowed_over_inverts_minimum_queries(queries: int, share: float) -> None:
    over = allowed_over(queries, share)
    if over >= 0:
        assert minimum_queries(over, share) <= queries
    assert minimum_queries(over + 1, share) > queries


def test_the_early_stopping_estimate_discards_all_but_one_of_the_slowest() -> None:
    assert early_stopping_rank(63, 0.9) is None
    assert early_stopping_rank(64, 0.9) == 63  # t = 1: the slowest itself
    assert early_stopping_rank(197, 0.9) == 187  # t = 10: nine are discarded
    assert early_stopping_rank(661, 0.99) is None
    assert early_stopping_rank(662, 0.99) == 661


def test_the_early_stopping_estimate_bounds_the_percentile() -> None:
    rng = np.random.default_rng(0)
    latencies = np.sort(rng.exponential(size=(4_000, 300)), axis=1)
    rank = early_stopping_rank(300, 0.9)
    assert rank is not None
    missed = (latencies[:, rank] < -np.log(0.1)).mean()
    assert missed <= 0.01 + 3 * np.sqrt(0.01 / 4_000)


def test_quantile_ranks_against_a_textbook() -> None:
    # Conover 1999, Practical Nonparametric Statistics, section 3.2: the median of 20 values lies
    # between the 6th and the 15th with probability 0.9586.
    assert quantile_ranks(20, 0.5) == (5, 14)
    # No interval beyond the extremes: 2 / 2**5 > 0.05.
    assert quantile_ranks(5, 0.5) == (-1, 5) and quantile_ranks(6, 0.5) == (0, 5)
    assert quantile_ranks(100, 0.99)[1] == 100
    assert [quantile_rank(100, share) for share in (0.9, 0.29, 0.999)] == [90, 29, 99]


@given(st.integers(6, 3_000), st.floats(0.05, 0.99), st.sampled_from([0.8, 0.95, 0.99]))
def test_the_interval_covers_by_the_binomial_and_is_the_shortest(
    n: int, share: float, level: float
) -> None:
    below, above = quantile_ranks(n, share, level)
    tail = (1 - level) / 2
    # x[below] > quantile iff at most `below` values lie under it.
    if below >= 0:
        assert scipy_stats.binom.cdf(below, n, share) <= tail * (1 + 1e-9)
    assert scipy_stats.binom.cdf(below + 1, n, share) > tail * (1 - 1e-9)
    assert scipy_stats.binom.sf(above, n, share) <= tail * (1 + 1e-9)
    assert scipy_stats.binom.sf(above - 1, n, share) > tail * (1 - 1e-9)


def test_the_interval_covers_in_simulation() -> None:
    rng = np.random.default_rng(1)
    values = np.sort(rng.lognormal(size=(4_000, 800)), axis=1)
    below, above = quantile_ranks(800, 0.9)
    truth = np.exp(scipy_stats.norm.ppf(0.9))
    covered = ((values[:, below] <= truth) & (truth <= values[:, above])).mean()
    assert 0.945 <= covered <= 0.975


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_shares_are_checked(share: float) -> None:
    with pytest.raises(ValueError, match="share"):
        quantile_rank(1, share)
    with pytest.raises(ValueError, match="share"):
        minimum_queries(0, share)
