"""References: scipy, enumeration of all labellings, and the rate of false alarms."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.datasets import load_diabetes, load_digits

from crucibench.stats import (
    chi_square,
    kolmogorov_smirnov,
    maximum_mean_discrepancy,
    population_stability,
)

DRAW = {"seed": 0, "stream": "test"}


@pytest.mark.parametrize(("n", "m"), [(40, 60), (3000, 1500)])
def test_untied_numbers_are_as_in_the_table(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    first, second = rng.normal(size=n), rng.normal(0.2, 1.1, size=m)
    found = kolmogorov_smirnov(first, second, **DRAW)
    expected = stats.ks_2samp(first, second, method="exact" if n < 1000 else "asymp")
    assert_allclose([found.statistic, found.p_value], [expected.statistic, expected.pvalue])
    assert (found.first, found.second, found.method) == (n, m, "kolmogorov-smirnov")


def _enumerated(first: list[int], second: list[int], statistic: object) -> float:
    """The p-value over all labellings, each as likely."""
    pooled = np.array(first + second)
    values = [
        statistic(pooled[list(taken)], np.delete(pooled, list(taken)))  # type: ignore[operator]
        for taken in combinations(range(len(pooled)), len(first))
    ]
    return float(np.mean(np.array(values) >= values[0] - 1e-9))


def _shares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(side, minlength=3) / len(side) for side in (first, second)])


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    ours, theirs = _shares(first, second).cumsum(axis=1)
    return float(np.abs(ours - theirs).max())


def _chi(first: np.ndarray, second: np.ndarray) -> float:
    sizes = np.array([[len(first)], [len(second)]])
    seen = _shares(first, second) * sizes
    expected = seen.sum(axis=0) * sizes / sizes.sum()
    there = expected > 0
    return float(np.sum((seen[there] - expected[there]) ** 2 / expected[there]))


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(0, 2), min_size=4, max_size=6),
    st.lists(st.integers(0, 2), min_size=4, max_size=6),
)
def test_tied_values_and_rare_categories_are_as_all_labellings_say(
    first: list[int], second: list[int]
) -> None:
    if len(set(first + second)) < 2:
        return
    for test, statistic in ((kolmogorov_smirnov, _distance), (chi_square, _chi)):
        found = test(first, second, **DRAW)
        expected = _enumerated(first, second, statistic)
        assert_allclose(found.statistic, statistic(np.array(first), np.array(second)), atol=1e-9)
        # Four standard errors of a share of 9,999.
        noise = 4 * np.sqrt(expected * (1 - expected) / 9999) + 2e-4
        assert abs(found.p_value - expected) <= noise
        assert "permutation-9999" in found.method


def test_frequent_categories_are_as_in_scipy() -> None:
    first, second = (
        np.repeat(["a", "b", "c"], [30, 50, 20]),
        np.repeat(["a", "b", "c"], [60, 50, 45]),
    )
    found = chi_square(first, second, **DRAW)
    expected = stats.chi2_contingency([[30, 50, 20], [60, 50, 45]], correction=False)
    assert_allclose([found.statistic, found.p_value], [expected.statistic, expected.pvalue])


def test_what_no_permutation_reaches_is_still_told() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 10, 2000), rng.integers(5, 15, 2000)
    assert kolmogorov_smirnov(first, second, **DRAW).p_value < 1e-12


def test_one_value_is_no_evidence_and_no_values_are_no_test() -> None:
    for test in (kolmogorov_smirnov, chi_square):
        same = test([1, 1, 1], [1, 1], **DRAW)
        assert (same.statistic, same.p_value) == (0.0, 1.0)
        none = test([], [1], **DRAW)
        assert np.isnan(none.p_value) and none.reason == "a sample is empty"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: kolmogorov_smirnov([np.nan], [1.0], **DRAW),
            "first: expected no nan or infinite value",
        ),
        (
            lambda: chi_square([1], [1.5], **DRAW),
            "second: expected integer or string codes, got .*float",
        ),
        (
            lambda: kolmogorov_smirnov([1.0], [1.0], permutations=0, **DRAW),
            "permutations: expected an integer >= 1, got 0",
        ),
        (lambda: population_stability([], [1.0]), "expected at least one value each"),
        (
            lambda: maximum_mean_discrepancy(np.ones(3), np.ones((3, 1)), **DRAW),
            r"first: expected shape \(n, d\) with d >= 1, got \(3,\)",
        ),
        (
            lambda: maximum_mean_discrepancy(np.ones((3, 2)), np.ones((3, 3)), **DRAW),
            "second: expected 2 columns as the first, got 3",
        ),
        (
            lambda: maximum_mean_discrepancy(np.ones((2, 1)), [[1.0], [np.nan]], **DRAW),
            "second: expected finite values, got another in row 1",
        ),
    ],
)
def test_what_is_no_sample_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("columns", "test"),
    [
        (load_digits().data[:, [20, 28, 36, 43]], kolmogorov_smirnov),
        (load_digits().target[:, None], chi_square),
        (load_diabetes().data[:, [2, 3, 8]], kolmogorov_smirnov),
    ],
    ids=["pixels", "digits", "diabetes"],
)
def test_halves_of_real_data_raise_false_alarms_at_the_level(
    columns: np.ndarray, test: object
) -> None:
    alarms = []
    rng = np.random.default_rng(5)
    for _ in range(400 // columns.shape[1]):
        halves = np.array_split(rng.permutation(len(columns)), 2)
        for column in columns.T:
            first, second = (column[half] for half in halves)
            p = test(first, second, permutations=199, **DRAW).p_value  # type: ignore[operator]
            alarms.append(p <= 0.05)
    error = np.sqrt(0.05 * 0.95 / len(alarms))
    assert abs(np.mean(alarms) - 0.05) <= 3 * error


def test_a_shifted_pixel_and_a_missing_digit_are_found() -> None:
    pixels, target = load_digits(return_X_y=True)
    first, second = pixels[::2, 28], np.clip(pixels[1::2, 28] + 1.5, 0, 16)
    assert kolmogorov_smirnov(first, second, **DRAW).p_value < 1e-3
    kept = target[1::2]
    assert chi_square(target[::2], kept[kept != 3], **DRAW).p_value < 1e-6


def test_the_index_is_its_definition() -> None:
    first, second = np.repeat(["a", "b"], [40, 60]), np.repeat(["a", "b", "c"], [30, 50, 20])
    found = population_stability(first, second)
    p, q = np.array([40.5, 60.5, 0.5]) / 101.5, np.array([30.5, 50.5, 20.5]) / 101.5
    assert_allclose(found.index, np.sum((q - p) * np.log(q / p)))
    assert found.bins == 3
    assert_allclose(found.noise, stats.chi2.ppf(0.95, 2) * (1 / 100 + 1 / 100))


def test_bins_are_between_quantiles_of_the_reference() -> None:
    reference = np.arange(1000.0)
    assert population_stability(reference, reference).index == 0.0
    half = population_stability(reference, reference[:500])
    p, q = np.full(10, 0.1), np.where(np.arange(10) < 5, 100.5, 0.5) / 505
    assert half.bins == 10
    assert_allclose(half.index, np.sum((q - p) * np.log(q / p)))
    # Nine in ten are 0: only one edge is left.
    few = np.repeat([0.0, 1.0], [900, 100])
    assert population_stability(few, few[:-50]).bins == 2
    assert population_stability([3.0, 3.0], [3.0]).bins == 1


def test_the_index_is_below_its_noise_as_often_as_stated() -> None:
    rng = np.random.default_rng(2)
    below = []
    for _ in range(600):
        first, second = rng.normal(size=800), rng.normal(size=500)
        found = population_stability(first, second)
        below.append(found.index <= found.noise)
    assert abs(np.mean(below) - 0.95) <= 3 * np.sqrt(0.05 * 0.95 / 600)


def _by_definition(first: np.ndarray, second: np.ndarray) -> float:
    pooled = np.concatenate([first, second])
    apart = [
        np.sum((a - b) ** 2) for i, a in enumerate(pooled) for b in pooled[:i] if (a != b).any()
    ]
    scale = np.median(apart)

    def mean(left: np.ndarray, right: np.ndarray, *, same: bool) -> float:
        values = [
            np.exp(-np.sum((a - b) ** 2) / (2 * scale))
            for i, a in enumerate(left)
            for j, b in enumerate(right)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    within = mean(first, first, same=True) + mean(second, second, same=True)
    return within - 2 * mean(first, second, same=False)


def test_it_is_the_unbiased_estimate_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(13, 3)), rng.normal(0.5, 1, size=(9, 3))
    found = maximum_mean_discrepancy(first, second, **DRAW)
    assert_allclose(found.statistic, _by_definition(first, second), rtol=1e-10)
    assert (found.first, found.second) == (13, 9)


def test_false_alarms_come_at_the_level_and_shifts_are_found() -> None:
    rng = np.random.default_rng(1)
    options = {"permutations": 99, **DRAW}
    alarms = [
        maximum_mean_discrepancy(
            rng.exponential(size=(40, 5)), rng.exponential(size=(30, 5)), **options
        ).p_value
        <= 0.05
        for _ in range(500)
    ]
    assert abs(np.mean(alarms) - 0.05) <= 3 * np.sqrt(0.05 * 0.95 / 500)
    moved = maximum_mean_discrepancy(
        rng.normal(size=(200, 5)), rng.normal(0.5, 1, size=(200, 5)), **DRAW
    )
    wider = maximum_mean_discrepancy(
        rng.normal(size=(200, 5)), rng.normal(0, 2, size=(200, 5)), **DRAW
    )
    assert moved.p_value == wider.p_value == 0.001


def test_more_vectors_than_are_used_leave_a_subset() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(300, 2)), rng.normal(size=(50, 2))
    found = maximum_mean_discrepancy(first, second, most=100, **DRAW)
    assert (found.first, found.second) == (100, 50)
    assert found == maximum_mean_discrepancy(first, second, most=100, **DRAW)


def test_equal_vectors_are_no_evidence_and_one_is_no_sample() -> None:
    same = maximum_mean_discrepancy(np.ones((3, 2)), np.ones((4, 2)), **DRAW)
    assert (same.statistic, same.p_value) == (0.0, 1.0)
    none = maximum_mean_discrepancy(np.ones((1, 2)), np.ones((4, 2)), **DRAW)
    assert none.reason == "a sample has fewer than two vectors"
