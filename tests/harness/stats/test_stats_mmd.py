"""References: the double sums of the definition, and the rate of false alarms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from crucibench.stats import maximum_mean_discrepancy

DRAW = {"seed": 0, "stream": "test"}


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


def test_what_is_no_sample_of_vectors_is_refused() -> None:
    with pytest.raises(ValueError, match=r"first: expected shape \(n, d\) with d >= 1, got \(3,\)"):
        maximum_mean_discrepancy(np.ones(3), np.ones((3, 1)), **DRAW)
    with pytest.raises(ValueError, match="second: expected 2 columns as the first, got 3"):
        maximum_mean_discrepancy(np.ones((3, 2)), np.ones((3, 3)), **DRAW)
    with pytest.raises(ValueError, match="second: expected finite values, got another in row 1"):
        maximum_mean_discrepancy(np.ones((2, 1)), [[1.0], [np.nan]], **DRAW)
