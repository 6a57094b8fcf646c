"""Bootstrap intervals against scipy, coverage by simulation, and what has no interval."""

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

from crucibench.stats import (
    IntervalKind,
    SumStatistic,
    WeightedStatistic,
    bootstrap_many,
    replicates_of,
    weighted_mean,
    weighted_ratio,
)
from crucibench.stats.bootstrap import summaries_of
from crucibench.stats.replicates import Correction, bias_correction, inversion_p_value, summarise
from crucibench.stats.replicates import acceleration as acceleration_of
from crucibench.stats.resampling import Resampler

DRAW = {"seed": 0, "stream": "test"}


def bootstrap_interval(statistic: WeightedStatistic, n: int, **how: Any) -> Any:
    return bootstrap_many({"statistic": statistic}, n, **how)["statistic"]


def skewed(n: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).lognormal(size=n)


def weighted_median(values: NDArray[np.float64]) -> WeightedStatistic:
    """The lower weighted median: the usual one where the weights sum to an odd number."""
    order = np.argsort(values)

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        running = np.cumsum(weights[:, order], axis=1)
        return values[order][np.argmax(running >= running[:, -1:] / 2, axis=1)]

    return statistic


def coefficient_of_variation(values: NDArray[np.float64]) -> SumStatistic:
    def finish(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        mean, square = sums[:, 0] / sums[:, 2], sums[:, 1] / sums[:, 2]
        return np.sqrt(square - mean**2) / mean

    return SumStatistic(np.stack([values, values**2, np.ones(values.size)]), finish)


def scipy_interval(
    data: tuple[NDArray[np.float64], ...],
    statistic: Callable[..., Any],
    replicates: NDArray[np.float64],
    method: str,
) -> tuple[float, float]:
    """Endpoints that scipy computes from our replicates."""
    first = scipy.stats.bootstrap(data, statistic, n_resamples=2, method="percentile", rng=0)
    first.bootstrap_distribution = replicates
    return scipy.stats.bootstrap(
        data, statistic, n_resamples=0, method=method, bootstrap_result=first
    ).confidence_interval


CASES = {
    "mean": (weighted_mean, np.mean),
    "spread": (coefficient_of_variation, lambda x, axis=-1: x.std(axis=axis) / x.mean(axis=axis)),
    "median": (weighted_median, np.median),
}


@pytest.mark.parametrize("n", [15, 41, 301])
@pytest.mark.parametrize("name", CASES)
def test_endpoints_equal_scipys_on_the_same_replicates(name: str, n: int) -> None:
    values = skewed(n)
    weighted, plain = CASES[name]
    replicates = replicates_of({"s": weighted(values)}, n, **DRAW)["s"]
    for kind, method in (("percentile", "percentile"), ("bca", "BCa")):
        ours = bootstrap_interval(weighted(values), n, kind=kind, **DRAW)
        if name == "median" and kind == "bca":
            # Leaving one out of an odd number: numpy's median then averages two values.
            continue
        theirs = scipy_interval((values,), plain, replicates, method)
        assert_allclose(ours.interval[:2], theirs, rtol=1e-12)
        assert ours.interval.method == f"{kind}-bootstrap-2000"
        assert_allclose(ours.estimate, plain(values), rtol=1e-12)
        assert_allclose(ours.standard_error, replicates.std(ddof=1), rtol=1e-12)


@pytest.mark.parametrize("m", [2, 12])
def test_stratified_bca_equals_scipys_two_sample_form(m: int) -> None:
    x, y = skewed(m, 1), skewed(30, 2) + 0.5
    values, strata = np.r_[x, y], np.r_[np.zeros(m, int), np.ones(30, int)]
    first = weighted_mean(x)

    def gap(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return first(weights[:, :m]) - weighted_mean(y)(weights[:, m:])

    ours = bootstrap_interval(gap, values.size, strata=strata, **DRAW)
    replicates = replicates_of({"s": gap}, values.size, strata=strata, **DRAW)["s"]
    theirs = scipy_interval(
        (x, y), lambda a, b, axis=-1: a.mean(axis=axis) - b.mean(axis=axis), replicates, "BCa"
    )
    assert_allclose(ours.interval[:2], theirs, rtol=1e-12)
    assert ours.interval.method == "stratified-bca-bootstrap-2000"


@pytest.mark.parametrize("name", CASES)
def test_replicates_have_scipys_distribution(name: str) -> None:
    values = skewed(41, 3)
    weighted, plain = CASES[name]
    ours = replicates_of({"s": weighted(values)}, 41, replicates=4000, **DRAW)["s"]
    theirs = scipy.stats.bootstrap(
        (values,), plain, n_resamples=8000, method="percentile", rng=1
    ).bootstrap_distribution
    # Kolmogorov-Smirnov holds for the discrete law of the median too, conservatively.
    assert scipy.stats.ks_2samp(ours, theirs).pvalue > 1e-3
    assert abs(ours.mean() - theirs.mean()) < 4 * theirs.std() / math.sqrt(4000) * 1.3


def test_bias_and_acceleration_by_their_definitions() -> None:
    replicates = np.array([1.0, 2.0, 2.0, 3.0, 4.0])
    assert_allclose(bias_correction(replicates, 2.0), scipy.stats.norm.ppf(0.4))
    influences = np.array([-1.0, 0.5, 2.0, 2.0])
    expected = np.sum(influences**3) / (6 * np.sum(influences**2) ** 1.5)
    assert_allclose(acceleration_of(influences), expected, rtol=1e-14)
    assert_allclose(acceleration_of(1e-150 * influences), expected, rtol=1e-14)
    assert math.isnan(acceleration_of(np.zeros(3)))
    assert math.isnan(acceleration_of(np.array([1.0, math.nan])))


def test_block_size_never_changes_a_result() -> None:
    values = skewed(57)
    statistics = {name: weighted(values) for name, (weighted, _) in CASES.items()}
    for codes in ({}, {"clusters": np.arange(57) // 4}, {"strata": np.arange(57) % 3}):
        whole = bootstrap_many(statistics, 57, replicates=300, **DRAW, **codes)
        for max_cells in (1, 57, 1000):
            again = bootstrap_many(
                statistics, 57, replicates=300, max_cells=max_cells, **DRAW, **codes
            )
            assert again == whole


def test_statistics_share_draws_whatever_stands_beside_them() -> None:
    values = skewed(50)
    alone = bootstrap_interval(weighted_mean(values), 50, **DRAW)
    many = bootstrap_many(
        {"shifted": weighted_mean(values + 1), "mean": weighted_mean(values)}, 50, **DRAW
    )
    assert many["mean"] == alone
    raw = replicates_of(
        {"shifted": weighted_mean(values + 1), "mean": weighted_mean(values)}, 50, **DRAW
    )
    assert_allclose(raw["shifted"] - raw["mean"], 1.0, rtol=1e-12)


@pytest.mark.parametrize("repetitions", [100, pytest.param(300, marks=pytest.mark.thorough)])
def test_coverage_of_a_skewed_mean_is_scipys(repetitions: int) -> None:
    rng = np.random.default_rng(12)
    n, replicates = 25, 400
    hits = {(who, kind): [] for who in ("ours", "scipy") for kind in ("percentile", "bca")}
    for repetition in range(repetitions):
        values = rng.exponential(size=n)
        for kind in ("percentile", "bca"):
            ours = bootstrap_interval(
                weighted_mean(values),
                n,
                replicates=replicates,
                seed=repetition,
                stream="coverage",
                kind=kind,
            ).interval
            theirs = scipy.stats.bootstrap(
                (values,), np.mean, n_resamples=replicates, method=kind.replace("bca", "BCa"),
                rng=rng,
            ).confidence_interval  # fmt: skip
            hits["ours", kind].append(ours.lower <= 1.0 <= ours.upper)
            hits["scipy", kind].append(theirs.low <= 1.0 <= theirs.high)
    for kind in ("percentile", "bca"):
        ours, theirs = (np.array(hits[who, kind], float) for who in ("ours", "scipy"))
        # Paired over the same samples, so the noise is that of the discordant repetitions.
        error = max((ours - theirs).std(), 0.02) / math.sqrt(repetitions)
        assert abs((ours - theirs).mean()) < 3.5 * error
        assert abs(ours.mean() - 0.915) < 3.4 * math.sqrt(0.915 * 0.085 / repetitions)


def test_cluster_bootstrap_covers_where_the_naive_one_does_not() -> None:
    rng = np.random.default_rng(13)
    clusters = np.repeat(np.arange(30), 8)
    repetitions = 200
    covered = {"cluster": 0, "naive": 0}
    for repetition in range(repetitions):
        values = rng.normal(size=30)[clusters] + rng.normal(size=clusters.size)
        for name, codes in (("cluster", clusters), ("naive", None)):
            interval = bootstrap_interval(
                weighted_mean(values),
                clusters.size,
                replicates=400,
                seed=repetition,
                stream="clusters",
                clusters=codes,
                kind="percentile",
            ).interval
            covered[name] += interval.lower <= 0.0 <= interval.upper
    # With 30 clusters the percentile interval is sqrt(29 / 30) too short, and z where t_29 is due:
    # in theory it covers 2 P(t_29 < 1.96 sqrt(29 / 30)) - 1 = 0.936.
    theory = 1 - 2 * scipy.stats.t.sf(1.96 * math.sqrt(29 / 30), 29)
    assert abs(covered["cluster"] / repetitions - theory) < 3.5 * math.sqrt(0.06 / repetitions)
    # Eight alike to one half by cluster: the variance is 1 + 7 / 2 times what the naive one sees.
    naive = 1 - 2 * scipy.stats.norm.sf(1.96 / math.sqrt(4.5))
    assert abs(covered["naive"] / repetitions - naive) < 3.5 * math.sqrt(0.23 / repetitions)
    assert naive < 0.65


def test_methods_say_what_was_done() -> None:
    values, clusters = skewed(1200), np.arange(1200) % 37
    small = values[:1000]

    def method(values: NDArray[np.float64], **options: Any) -> str:
        result = bootstrap_interval(
            weighted_mean(values), values.size, replicates=200, **DRAW, **options
        )
        assert result.method == result.interval.method
        return result.method

    assert method(small) == "bca-bootstrap-200"
    assert method(values) == "percentile-bootstrap-200 (in 1000 groups)"
    kept, dealt = np.arange(1200) // 80, np.arange(1200) // 400
    assert method(values, strata=kept) == "stratified-percentile-bootstrap-200"
    assert method(values, strata=dealt) == "stratified-percentile-bootstrap-200 (in 999 groups)"
    assert method(values, kind="bca") == "bca-bootstrap-200 (in 1000 groups)"
    assert method(values, clusters=clusters) == "cluster-bca-bootstrap-200 (37 clusters)"
    assert (
        method(values, clusters=clusters, kind="percentile")
        == "cluster-percentile-bootstrap-200 (37 clusters)"
    )
    assert (
        method(values, clusters=clusters, strata=clusters % 2)
        == "cluster-stratified-bca-bootstrap-200 (37 clusters)"
    )


def test_the_acceleration_from_groups_is_that_from_each_unit() -> None:
    values = skewed(6000)
    deletions = (values.sum() - values) / (values.size - 1)
    exact = acceleration_of(deletions.mean() - deletions)
    rng = np.random.default_rng(0)
    grouped = []
    for _ in range(200):
        groups = rng.permutation(6000).reshape(200, 30)
        means = (values.sum() - values[groups].sum(axis=1)) / (6000 - 30)
        grouped.append(acceleration_of(means.mean() - means))
    # One grouping is off by about sqrt(6 / 200) / (6 sqrt 200) = 0.002, their mean by far less.
    assert_allclose(np.mean(grouped), exact, rtol=0.15)
    assert exact > 0.008


def test_a_proportion_of_none_gets_no_interval_and_no_claim_of_precision() -> None:
    result = bootstrap_interval(weighted_mean(np.zeros(20)), 20, **DRAW)
    assert (result.estimate, result.interval, result.standard_error) == (0.0, None, 0.0)
    assert result.degenerate
    assert "no proof of precision" in result.reason
    constant = bootstrap_interval(weighted_mean(np.full(20, 0.1)), 20, **DRAW)
    assert constant.degenerate
    assert constant.interval is None


def test_undefined_replicates_are_dropped_and_counted_up_to_a_share() -> None:
    # A rate among two of 60 samples is undefined on (58 / 60) ** 60 = 13 % of the replicates,
    # among four on 1.6 %.
    hits = np.zeros(60)
    hits[0] = 1.0

    def rate(members: int) -> SumStatistic:
        return weighted_ratio(hits, np.arange(60) < members)

    often = bootstrap_interval(rate(2), 60, **DRAW)
    assert often.interval is None
    assert 200 < often.undefined < 330
    assert often.replicates_used == 2000 - often.undefined
    assert f"undefined on {often.undefined} of 2000 replicates" in often.reason
    assert math.isnan(often.standard_error)
    assert often.estimate == 0.5

    seldom = bootstrap_interval(rate(4), 60, kind="percentile", **DRAW)
    assert 0 < seldom.undefined < 100
    assert seldom.interval.method == f"percentile-bootstrap-2000 ({seldom.undefined} undefined)"
    assert seldom.replicates_used == 2000 - seldom.undefined

    never = bootstrap_interval(weighted_ratio(hits, np.zeros(60)), 60, **DRAW)
    assert math.isnan(never.estimate)
    assert never.interval is None
    assert "undefined on the sample itself" in never.reason


def test_bca_gives_way_where_it_cannot_be_computed() -> None:
    # Undefined without the only member: no acceleration, so the percentile interval, named so.
    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        value = weights @ np.arange(30.0) / weights.sum(axis=1)
        return np.where((weights.sum(axis=1) < 30) & (weights[:, 0] == 0), np.nan, value)

    result = bootstrap_interval(statistic, 30, kind="bca", **DRAW)
    assert result.interval.method == "percentile-bootstrap-2000"
    # An estimate beyond all replicates has an infinite bias correction.

    def beyond(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        value = weights @ np.arange(30.0) / weights.sum(axis=1)
        return np.where((weights == 1.0).all(axis=1), 1000.0, value)

    result = bootstrap_interval(beyond, 30, kind="bca", **DRAW)
    assert result.estimate == 1000.0
    assert result.interval.method == "percentile-bootstrap-2000"


def test_bca_gives_way_where_its_correction_folds_over() -> None:
    # One influence that outweighs 29 others gives nearly the largest acceleration there is, 1 / 6:
    # no level has a percentile level beyond 1 / 0.158 = 6.3 standard errors.
    replicates = np.random.default_rng(0).normal(size=500)
    influences = np.r_[np.full(29, -1.0), 29.0]
    common = {"level": 1 - 1e-10, "template": "{kind}"}
    assert 0.158 < acceleration_of(influences) < 1 / 6
    folded = summarise(replicates, 0.0, influences=influences, **common)
    plain = summarise(replicates, 0.0, influences=None, **common)
    assert folded.correction is None
    assert folded.result == plain.result
    assert plain.result.method == "percentile"


def test_p_values_beyond_the_fold_of_bca_stay_in_range() -> None:
    replicates = np.arange(1.0, 1001.0)
    for null, correction in ((0.0, Correction(3.0, 0.166)), (1001.0, Correction(-3.0, -0.166))):
        # Neither 0 nor less than 1,000 replicates can show.
        assert inversion_p_value(replicates, null, correction) == 2 / 1001
    assert inversion_p_value(np.zeros(9), 0.0, Correction(0.1, 0.1)) == 1.0


@pytest.mark.parametrize(
    ("n", "clusters", "what"), [(4, None, "4 samples"), (40, np.arange(40) % 3, "3 clusters")]
)
def test_too_few_units_give_no_interval(
    n: int, clusters: NDArray[np.intp] | None, what: str
) -> None:
    result = bootstrap_interval(weighted_mean(skewed(n)), n, clusters=clusters, **DRAW)
    assert result.interval is None
    assert result.reason.startswith(what)
    assert_allclose(result.estimate, skewed(n).mean())


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 60), st.integers(0, 10_000), st.sampled_from(["bca", "percentile"]))
def test_intervals_stay_within_the_data(n: int, seed: int, kind: IntervalKind) -> None:
    values = np.random.default_rng(seed).random(n)
    result = bootstrap_interval(
        weighted_mean(values), n, replicates=200, seed=seed, stream="h", kind=kind
    )
    assert values.min() <= result.interval.lower <= result.interval.upper <= values.max()
    wider = bootstrap_interval(
        weighted_mean(values), n, replicates=200, seed=seed, stream="h", kind=kind, level=0.99
    )
    assert wider.interval.lower <= result.interval.lower
    assert wider.interval.upper >= result.interval.upper


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(-0.8, 0.8), st.sampled_from(["bca", "percentile"]))
def test_the_p_value_inverts_the_interval(seed: int, shift: float, kind: IntervalKind) -> None:
    values = np.random.default_rng(seed).gumbel(size=40) + shift
    options = {"replicates": 999, "seed": seed, "stream": "p", "kind": kind}
    summary = summaries_of(
        {"s": weighted_mean(values)},
        Resampler(40, seed=seed, stream="p"),
        level=0.95,
        replicates=999,
        kind=kind,
        max_cells=1 << 20,
    )["s"]
    p = inversion_p_value(summary.finite, 0.0, summary.correction)
    assert 0.0 < p <= 1.0
    # At a level just below 1 - p the interval leaves 0 out, just above it holds it.
    for level, inside in ((1 - p - 0.01, False), (1 - p + 0.01, True)):
        if 0.0 < level < 1.0:
            interval = bootstrap_interval(weighted_mean(values), 40, level=level, **options)
            assert (interval.interval.lower <= 0.0 <= interval.interval.upper) == inside


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 95}, "level: expected a number strictly between 0 and 1, got 95"),
        ({"replicates": 1}, "replicates: expected an integer >= 2, got 1"),
        ({"kind": "basic"}, "kind: expected 'auto', 'bca' or 'percentile', got 'basic'"),
        ({"clusters": [1]}, r"clusters: expected shape \(9,\), got \(1,\)"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(weighted_mean(np.arange(9.0)), 9, **DRAW, **options)
