"""Paired bootstrap and jackknife; McNemar."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar

from crucibench.stats import (
    IntervalKind,
    mcnemar_exact,
    paired_bootstrap_many,
    paired_jackknife_many,
    weighted_mean,
    weighted_ratio,
)

DRAW = {"seed": 5, "stream": "paired"}
GRID = [*itertools.product(range(0, 26, 5), range(26)), (480, 520), (40_000, 39_000)]


@pytest.mark.parametrize(("b", "c"), GRID)
def test_mcnemar_equals_scipy_and_statsmodels(b: int, c: int) -> None:
    table = [[100, b], [c, 50]]
    assert_allclose(mcnemar_exact(b, c), mcnemar(table, exact=True).pvalue, rtol=1e-9)
    if b + c:
        binomial = scipy.stats.binomtest(b, b + c, 0.5)
        assert_allclose(mcnemar_exact(b, c), binomial.pvalue, rtol=1e-9)
    else:
        assert mcnemar_exact(0, 0) == 1.0


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 2000), st.integers(0, 2000))
def test_mcnemar_is_symmetric(b: int, c: int) -> None:
    assert 0.0 <= mcnemar_exact(b, c) == mcnemar_exact(c, b) <= 1.0


def test_mcnemar_keeps_its_level_by_enumeration() -> None:
    for discordant in (6, 11, 40, 101):
        b = np.arange(discordant + 1)
        mass = scipy.stats.binom.pmf(b, discordant, 0.5)
        exact = np.array([mcnemar_exact(int(k), int(discordant - k)) for k in b])
        for alpha in (0.01, 0.05, 0.2):
            size = mass[exact <= alpha].sum()
            assert size <= alpha + 1e-12


def test_mcnemar_refuses_what_is_no_count() -> None:
    with pytest.raises(ValueError, match="b: expected an integer >= 0, got -1"):
        mcnemar_exact(-1, 2)
    with pytest.raises(ValueError, match=r"c: expected an integer, got 2\.5"):
        mcnemar_exact(1, 2.5)


def paired_bootstrap(first: Any, second: Any, n: int, **how: Any) -> Any:
    return paired_bootstrap_many({"difference": (first, second)}, n, **how)["difference"]


def losses(
    seed: int, n: int, shift: float = 0.0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    shared = rng.exponential(size=n)
    return shared + 0.3 * rng.exponential(size=n) + shift, shared + 0.3 * rng.exponential(size=n)


@pytest.mark.parametrize(("kind", "method"), [("percentile", "percentile"), ("bca", "BCa")])
def test_paired_bootstrap_is_scipys(kind: IntervalKind, method: str) -> None:
    a, b = losses(0, 60, 0.1)
    ours = paired_bootstrap(
        weighted_mean(a), weighted_mean(b), 60, replicates=4000, kind=kind, **DRAW
    )
    theirs = scipy.stats.bootstrap(
        (a, b),
        lambda x, y, axis=-1: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        n_resamples=20_000,
        method=method,
        rng=2,
    )
    assert_allclose(ours.estimate, a.mean() - b.mean(), rtol=1e-12)
    assert_allclose(ours.standard_error, theirs.standard_error, rtol=4 / math.sqrt(2 * 4000))
    # A quantile at 2.5 % of 4,000 replicates is good to 0.07 standard errors here.
    assert_allclose(ours.interval[:2], theirs.confidence_interval, atol=0.25 * ours.standard_error)
    assert ours.method == ours.interval.method == f"{kind}-bootstrap-4000"


def test_pairing_takes_the_shared_noise_out() -> None:
    a, b = losses(1, 200)
    paired = paired_bootstrap(weighted_mean(a), weighted_mean(b), 200, **DRAW)
    unpaired = math.sqrt((a.var() + b.var()) / 200)
    assert paired.standard_error < 0.5 * unpaired
    assert_allclose(paired.standard_error, (a - b).std() / math.sqrt(200), rtol=0.1)


@pytest.mark.parametrize("kind", ["bca", "percentile"])
def test_swapping_models_flips_the_signs(kind: IntervalKind) -> None:
    a, b = losses(2, 80, 0.05)
    one = paired_bootstrap(weighted_mean(a), weighted_mean(b), 80, kind=kind, **DRAW)
    other = paired_bootstrap(weighted_mean(b), weighted_mean(a), 80, kind=kind, **DRAW)
    assert one.estimate == -other.estimate
    assert_allclose(one.interval[:2], (-other.interval.upper, -other.interval.lower), rtol=1e-9)
    assert_allclose(one.p_value, other.p_value, rtol=1e-9)


def test_models_that_answer_alike_do_not_differ() -> None:
    a, _ = losses(3, 50)
    for difference in (
        paired_bootstrap(weighted_mean(a), weighted_mean(a), 50, **DRAW),
        paired_jackknife_many({"d": (weighted_mean(a), weighted_mean(a))}, 50, **DRAW)["d"],
    ):
        assert (difference.estimate, difference.p_value) == (0.0, 1.0)
        assert difference.degenerate
        assert difference.interval is None
    shifted = paired_bootstrap(weighted_mean(a + 1.0), weighted_mean(a), 50, **DRAW)
    assert shifted.degenerate
    assert math.isnan(shifted.p_value)


def test_the_paired_bootstrap_keeps_its_level() -> None:
    rng = np.random.default_rng(14)
    repetitions, rejected = 400, 0
    for repetition in range(repetitions):
        right = rng.random((2, 150)) < 0.8
        difference = paired_bootstrap(
            weighted_mean(right[0]),
            weighted_mean(right[1]),
            150,
            replicates=400,
            seed=repetition,
            stream="level",
            kind="percentile",
        )
        rejected += difference.p_value <= 0.05
    assert abs(rejected / repetitions - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / repetitions)


def test_the_jackknife_of_differences_is_students() -> None:
    a, b = losses(4, 500, 0.02)
    pairs = {"mean": (weighted_mean(a), weighted_mean(b))}
    ours = paired_jackknife_many(pairs, 500, groups=500, **DRAW)["mean"]
    theirs = scipy.stats.ttest_rel(a, b)
    assert_allclose(ours.p_value, theirs.pvalue, rtol=1e-9)
    assert_allclose(ours.interval[:2], theirs.confidence_interval(), rtol=1e-9)


def test_several_differences_share_draws() -> None:
    a, b = losses(6, 500)
    ones = np.ones(a.size)
    pairs = {
        "mean": (weighted_mean(a), weighted_mean(b)),
        "ratio": (weighted_ratio(a, ones), weighted_ratio(b, ones)),
    }
    for differences in (
        paired_bootstrap_many(pairs, a.size, **DRAW),
        paired_jackknife_many(pairs, a.size, **DRAW),
    ):
        assert differences["mean"] == differences["ratio"]
        error = (a - b).std() / math.sqrt(a.size)
        assert_allclose(differences["mean"].standard_error, error, rtol=0.2)


def test_clusters_widen_a_paired_difference() -> None:
    rng = np.random.default_rng(15)
    clusters = np.repeat(np.arange(40), 10)
    gap = rng.normal(size=40)[clusters]
    base = rng.normal(size=400)
    pair = weighted_mean(base + gap), weighted_mean(base)
    naive = paired_bootstrap(*pair, 400, **DRAW)
    honest = paired_bootstrap(*pair, 400, clusters=clusters, **DRAW)
    assert_allclose(honest.standard_error / naive.standard_error, math.sqrt(10), rtol=0.15)
    assert honest.method == "cluster-bca-bootstrap-2000 (40 clusters)"
