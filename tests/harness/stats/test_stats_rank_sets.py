"""Rank intervals and win rates against brute force, closed cases and simulation."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scipy.stats import rankdata

from crucibench.stats import mcnemar_exact, mean_ranks, midranks, rank_sets, win_rates


def _matrix(pairs: dict[tuple[int, int], float], m: int) -> np.ndarray:
    p = np.full((m, m), np.nan)
    for (j, k), value in pairs.items():
        p[j, k] = p[k, j] = value
    return p


def test_a_chain_is_ranked_and_what_is_not_told_apart_shares_its_ranks() -> None:
    values = [0.9, 0.5, 0.48, 0.1]
    p = _matrix(
        {(0, 1): 1e-6, (0, 2): 1e-6, (0, 3): 1e-9, (1, 2): 0.7, (1, 3): 1e-5, (2, 3): 1e-5}, 4
    )
    sets = rank_sets(values, p)
    assert sets.lower.tolist() == [1, 2, 2, 4]
    assert sets.upper.tolist() == [1, 3, 3, 4]
    assert sets.better[1].tolist() == [False, False, False, True]


def test_holm_over_all_pairs_is_what_tells_apart() -> None:
    # Of three pairs the smallest p-value is held against 0.05 / 3.
    values = [3.0, 2.0, 1.0]
    near = _matrix({(0, 1): 0.9, (0, 2): 0.017, (1, 2): 0.9}, 3)
    assert rank_sets(values, near).upper.tolist() == [3, 3, 3]
    below = _matrix({(0, 1): 0.9, (0, 2): 0.016, (1, 2): 0.9}, 3)
    assert rank_sets(values, below).lower.tolist() == [1, 1, 2]
    assert rank_sets(values, below).upper.tolist() == [2, 3, 3]
    # At the level itself a pair is told apart.
    even = rank_sets([1.0, 0.0], np.full((2, 2), 0.5), level=0.5)
    assert even.lower.tolist() == even.upper.tolist() == [1, 2]


def test_pairs_that_could_not_be_tested_are_not_told_apart() -> None:
    sets = rank_sets([5.0, 1.0], np.full((2, 2), np.nan))
    assert sets.lower.tolist() == [1, 1]
    assert sets.upper.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("values", "p", "words"),
    [
        ([1.0, 2.0], np.ones((3, 3)), r"expected shape \(2, 2\), got \(3, 3\)"),
        ([1.0, 2.0], np.array([[1, 0.1], [0.2, 1]]), "symmetric"),
        ([1.0, np.nan], np.ones((2, 2)), "values"),
    ],
)
def test_what_is_no_set_of_models_is_refused(
    values: list[float], p: np.ndarray, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        rank_sets(values, p)


def _ranks_of_hits(hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    m = len(hits)
    p = np.ones((m, m))
    for j in range(m):
        for k in range(j):
            p[j, k] = p[k, j] = mcnemar_exact(
                int((hits[j] & ~hits[k]).sum()), int((hits[k] & ~hits[j]).sum())
            )
    sets = rank_sets(hits.mean(axis=1), p)
    return sets.lower, sets.upper


def test_equal_models_share_a_group_and_a_better_one_leaves_it() -> None:
    rng = np.random.default_rng(3)
    repetitions, alone, found = 400, 0, 0
    for _ in range(repetitions):
        hard = rng.random(300)
        equal = np.stack([rng.random(300) < 0.6 + 0.4 * hard for _ in range(5)])
        lower, _ = _ranks_of_hits(equal)
        alone += bool((lower != 1).any())
        better = np.concatenate([equal, (rng.random((1, 300)) < 0.97)])
        lower, upper = _ranks_of_hits(better)
        found += bool(upper[5] == 1)
    # At most 5 % of groups torn apart, and three standard errors of the simulation.
    assert alone / repetitions <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repetitions)
    assert found / repetitions >= 0.95


def _brute(values: np.ndarray) -> tuple[list[float], list[float]]:
    rates, ranks = [], []
    for m in range(values.shape[1]):
        per_rate, per_rank = [], []
        for column in values:
            others = [x for k, x in enumerate(column) if k != m and not np.isnan(x)]
            if np.isnan(column[m]) or not others:
                continue
            wins = sum(1.0 if column[m] > x else 0.5 if column[m] == x else 0.0 for x in others)
            per_rate.append(wins / len(others))
            # The mean over all orders in which equal numbers may stand.
            per_rank.append(_mean_rank(column[m], others))
        rates.append(float(np.mean(per_rate)) if per_rate else np.nan)
        ranks.append(float(np.mean(per_rank)) if per_rank else np.nan)
    return rates, ranks


def _mean_rank(own: float, others: list[float]) -> float:
    above = sum(x > own for x in others)
    tied = ["own", *(x for x in others if x == own)]
    places = [order.index("own") for order in permutations(tied)]
    return 1 + above + float(np.mean(places))


@given(
    st.lists(
        st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, np.nan]), min_size=4, max_size=4),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_win_rates_and_mean_ranks_equal_brute_force(columns: list[list[float]]) -> None:
    values = np.array(columns)
    rates, ranks = _brute(values)
    np.testing.assert_allclose(win_rates(values[None])[0], rates)
    np.testing.assert_allclose(mean_ranks(values[None])[0], ranks)


def test_replicates_stand_for_themselves() -> None:
    values = np.random.default_rng(0).normal(size=(7, 3, 4))
    alone = np.stack([win_rates(one[None])[0] for one in values])
    np.testing.assert_array_equal(win_rates(values), alone)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from([-math.inf, -2.5, -0.0, 0.0, 1e-300, 3.0, math.inf]), min_size=1))
def test_ties_average_as_in_scipy(values: list[float]) -> None:
    ranks = midranks(values)
    assert ranks.dtype == np.float64
    assert_array_equal(ranks, rankdata(values))
    assert ranks.sum() == len(values) * (len(values) + 1) / 2


def test_many_values() -> None:
    values = np.random.default_rng(0).integers(0, 5000, 20_000)
    assert_array_equal(midranks(values), rankdata(values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "values: expected at least one value, got none"),
        ([1.0, math.nan, math.nan], "no nan value, got 2, the first at position 1"),
        ([[1.0]], r"values: expected one dimension, got shape \(1, 1\)"),
        (["a"], "values: expected an array of numbers"),
    ],
)
def test_what_has_no_rank_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        midranks(values)
