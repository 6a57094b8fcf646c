"""The group jackknife against closed forms, DeLong, its formula, and in coverage."""

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from crucibench.stats import (
    SumStatistic,
    WeightedStatistic,
    auc,
    block_jackknife,
    block_jackknife_many,
    delong,
    weighted_mean,
    weighted_ratio,
)

DRAW = {"seed": 4, "stream": "jackknife"}


def weighted_auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> WeightedStatistic:
    """AUC of samples that count 0 or 1 times."""

    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array(
            [auc(scores[(row > 0) & labels], scores[(row > 0) & ~labels]) for row in weights]
        )

    return statistic


def slow(statistic: WeightedStatistic) -> WeightedStatistic:
    """The same statistic without the fast path of sums."""
    return partial(SumStatistic.__call__, statistic)


@pytest.mark.parametrize("n", [2, 30, 157])
def test_leaving_each_sample_out_gives_the_textbook_error_of_a_mean(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n)
    result = block_jackknife(weighted_mean(values), n, groups=1000, **DRAW)
    error = values.std(ddof=1) / math.sqrt(n)
    assert_allclose(result.standard_error, error, rtol=1e-10)
    half = scipy.stats.t.ppf(0.975, n - 1) * error
    assert_allclose(
        result.interval[:2], (values.mean() - half, values.mean() + half), rtol=1e-9, atol=1e-12
    )
    assert result.interval.method == f"group-jackknife-{n}"


def test_groups_give_nearly_that_error() -> None:
    values = np.random.default_rng(0).lognormal(size=20_000)
    result = block_jackknife(weighted_mean(values), 20_000, **DRAW)
    # A variance from 200 groups has a relative error of sqrt(2 / 199) = 0.1, its root half that.
    assert_allclose(result.standard_error, values.std() / math.sqrt(20_000), rtol=0.2)
    assert result.interval.method == "group-jackknife-200"
    assert result.replicates_used == 200


def test_auc_error_is_delongs() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(2000) < 0.3
    scores = rng.normal(size=2000) + labels
    result = block_jackknife(weighted_auc(scores, labels), 2000, groups=400, **DRAW)
    estimate = delong(scores, labels)
    assert_allclose(result.estimate, estimate.auc, rtol=1e-13)
    assert_allclose(result.standard_error, math.sqrt(estimate.variance), rtol=3.5 * 0.036)
    small = slice(0, 150)
    each = block_jackknife(weighted_auc(scores[small], labels[small]), 150, groups=150, **DRAW)
    assert_allclose(
        each.standard_error, math.sqrt(delong(scores[small], labels[small]).variance), rtol=0.03
    )


def test_unequal_groups_follow_busing() -> None:
    # Five clusters of unequal size, each a group: the delete-m_j formulas written out.
    sizes = np.array([3, 10, 1, 6, 4])
    clusters = np.repeat(np.arange(5), sizes)
    values = np.random.default_rng(2).normal(size=24) + clusters
    result = block_jackknife(weighted_mean(values), 24, clusters=clusters, **DRAW)
    h = 24 / sizes
    without = np.array([values[clusters != j].mean() for j in range(5)])
    centre = 5 * values.mean() - np.sum((1 - sizes / 24) * without)
    pseudo = h * values.mean() - (h - 1) * without
    variance = np.mean((pseudo - centre) ** 2 / (h - 1))
    assert_allclose(result.standard_error, math.sqrt(variance), rtol=1e-12)
    assert result.interval.method == "cluster-group-jackknife-5 (5 clusters)"


@pytest.mark.parametrize(
    "codes", [{}, {"clusters": np.arange(300) // 3}, {"strata": np.arange(300) % 2}]
)
def test_the_fast_path_of_sums_equals_the_weights(codes: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    ratio = weighted_ratio(rng.random(300), rng.random(300))
    results = block_jackknife_many(
        {"fast": ratio, "slow": slow(ratio)}, 300, groups=20, **DRAW, **codes
    )
    assert_allclose(results["fast"].standard_error, results["slow"].standard_error, rtol=1e-9)
    assert_allclose(results["fast"].interval[:2], results["slow"].interval[:2], rtol=1e-9)
    for max_cells in (1, 1000):
        again = block_jackknife(slow(ratio), 300, groups=20, max_cells=max_cells, **DRAW, **codes)
        assert again == results["slow"]


def test_a_value_that_only_one_group_defines_is_undefined_without_it() -> None:
    numerators = np.random.default_rng(4).random(100)
    denominators = np.zeros(100)
    denominators[7] = 0.1
    ratio = weighted_ratio(numerators, denominators)
    for statistic in (ratio, slow(ratio)):
        result = block_jackknife(statistic, 100, groups=10, **DRAW)
        assert result.interval is None
        assert result.undefined == 1
        assert result.reason == "undefined without 1 of 10 groups"
    nowhere = block_jackknife(weighted_ratio(numerators, np.zeros(100)), 100, **DRAW)
    assert "undefined on the sample itself" in nowhere.reason


def test_one_huge_value_does_not_take_the_digits_of_the_others() -> None:
    values = np.random.default_rng(5).random(100)
    values[31] = 1e18
    huge = SumStatistic(
        np.stack([values, np.ones(100)]), lambda sums: np.log10(sums[:, 0] / sums[:, 1])
    )
    fast = block_jackknife(huge, 100, groups=10, **DRAW)
    reference = block_jackknife(slow(huge), 100, groups=10, **DRAW)
    assert_allclose(fast.standard_error, reference.standard_error, rtol=1e-9)


def test_no_spread_is_no_precision() -> None:
    result = block_jackknife(weighted_mean(np.full(50, 0.3)), 50, groups=7, **DRAW)
    assert result.degenerate
    assert result.interval is None
    assert result.standard_error == 0.0


def test_weights_are_bounded() -> None:
    shapes = []

    def watch(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        shapes.append(weights.shape)
        return weights @ np.arange(1000.0) / weights.sum(axis=1)

    block_jackknife(watch, 1000, groups=50, max_cells=7000, **DRAW)
    assert sum(rows for rows, _ in shapes) == 50 + 1
    assert max(rows for rows, _ in shapes) == 7


def test_coverage_with_few_groups_is_students() -> None:
    rng = np.random.default_rng(6)
    repetitions, covered = 1500, 0
    for repetition in range(repetitions):
        values = rng.exponential(size=400)
        interval = block_jackknife(
            weighted_mean(values), 400, groups=10, seed=repetition, stream="c"
        ).interval
        covered += interval.lower <= 1.0 <= interval.upper
    assert abs(covered / repetitions - 0.95) < 3.5 * math.sqrt(0.95 * 0.05 / repetitions)


def test_bounds_cut_the_interval_off() -> None:
    values = np.r_[np.zeros(3), np.ones(97)]
    statistics = {"a": weighted_mean(values), "b": weighted_mean(values)}
    results = block_jackknife_many(statistics, 100, bounds={"a": (0.0, 1.0)}, **DRAW)
    assert results["a"].interval.upper == 1.0
    assert results["b"].interval.upper > 1.0
    with pytest.raises(ValueError, match="estimate: expected a number within bounds"):
        block_jackknife(statistics["a"], 100, bounds=(0.0, 0.5), **DRAW)


def test_a_median_has_the_error_of_its_density() -> None:
    rng = np.random.default_rng(8)
    errors = []
    for seed in range(30):
        values = np.sort(rng.normal(size=4000))

        def median(
            weights: NDArray[np.float64], values: NDArray[np.float64] = values
        ) -> NDArray[np.float64]:
            running = np.cumsum(weights, axis=1)
            return values[np.argmax(running >= running[:, -1:] / 2, axis=1)]

        result = block_jackknife(median, 4000, groups=20, seed=seed, stream="median")
        errors.append(result.standard_error**2)
    # Leaving one in 20 of 4,000 out: groups of 200 > sqrt(4000), so the jackknife is consistent.
    theory = math.sqrt(math.pi / 2 / 4000)
    assert_allclose(math.sqrt(np.mean(errors)), theory, rtol=0.25)


def test_bad_arguments_are_refused() -> None:
    mean = weighted_mean(np.arange(5.0))
    with pytest.raises(ValueError, match="groups: expected an integer >= 2, got 1"):
        block_jackknife(mean, 5, groups=1, **DRAW)
    with pytest.raises(ValueError, match="n: expected at least two units to leave out, got 1"):
        block_jackknife(mean, 5, clusters=np.zeros(5, int), **DRAW)
    broken = SumStatistic(np.ones((1, 5)), lambda sums: sums)
    with pytest.raises(ValueError, match="expected a statistic that returns shape"):
        block_jackknife(broken, 5, **DRAW)


def test_the_groups_depend_on_seed_and_stream_alone() -> None:
    values = np.random.default_rng(9).random(500)
    one = block_jackknife(weighted_mean(values), 500, groups=20, **DRAW)
    assert one == block_jackknife(weighted_mean(values), 500, groups=20, **DRAW)
    other = block_jackknife(weighted_mean(values), 500, groups=20, seed=5, stream="jackknife")
    assert one.standard_error != other.standard_error
    assert_array_equal(one.estimate, other.estimate)
