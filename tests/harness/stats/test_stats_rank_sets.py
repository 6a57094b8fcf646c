"""Rank intervals and win rates against brute force, closed cases and simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr
from scipy.stats import norm, rankdata

from crucibench.stats import mcnemar_exact, mean_ranks, rank_sets
from crucibench.stats.rank_sets import of_next_trainings


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


@settings(max_examples=60)
@given(st.data())
def test_mean_ranks_leave_open_what_closed_testing_does(data: st.DataObject) -> None:
    """Against the definition: every set of hypotheses, and every set that holds it, tested."""
    columns, m = data.draw(st.sampled_from([(1, 2), (4, 2), (1, 3), (3, 3), (1, 4)]))
    numbers = st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=m, max_size=m)
    values = np.array(data.draw(st.lists(numbers, min_size=columns, max_size=columns)))
    chances = st.sampled_from([1e-4, 0.011, 0.024, 0.04, 0.07, 0.5, np.nan])
    p = np.full((columns, m, m), np.nan)
    for c in range(columns):
        for j, k in combinations(range(m), 2):
            p[c, j, k] = p[c, k, j] = data.draw(chances)
    shares = np.array(data.draw(st.permutations([0.4, 0.3, 0.2, 0.1])))[:columns]
    shares /= shares.sum()
    found = mean_ranks(values, p, shares)
    pairs = [(c, j, k) for c in range(columns) for j, k in combinations(range(m), 2)]
    kept = _kept_by_closed_testing({pair: float(np.nan_to_num(p[pair], nan=1.0)) for pair in pairs})

    def swayed(won: np.ndarray) -> float:
        """The most that may be equal or the other way round, of what is marked."""
        return max(
            sum(shares[c] for c, a, b in one if won[c, a, b] or won[c, b, a]) for one in kept
        )

    for j in range(m):
        own = np.arange(m)[:, None] == j
        won = (values[:, :, None] > values[:, None, :]) & own
        lost = (values[:, :, None] < values[:, None, :]) & own
        assert found.upper[j] == pytest.approx(m - shares @ won.sum(axis=(1, 2)) + swayed(won))
        assert found.lower[j] == pytest.approx(1 + shares @ lost.sum(axis=(1, 2)) - swayed(lost))
        ranks = [rankdata(-column)[j] for column in values]
        assert found.value[j] == pytest.approx(shares @ ranks)
        assert found.lower[j] - 1e-9 <= found.value[j] <= found.upper[j] + 1e-9


def _kept_by_closed_testing(
    claims: dict[tuple[int, int, int], float],
) -> list[tuple[tuple[int, int, int], ...]]:
    """Returns the sets of hypotheses that Simes' test keeps; what they hold is kept as well."""
    kept = []
    for size in range(len(claims) + 1):
        for chosen in combinations(claims, size):
            p = np.sort([claims[one] for one in chosen])
            if (p > 0.05 * np.arange(1, size + 1) / max(1, size)).all():
                kept.append(chosen)
    return kept


@pytest.mark.parametrize(
    ("models", "columns", "gap", "alike"),
    [(2, 1, 0.0, 0.0), (5, 4, 0.0, 0.3), (5, 8, 0.1, 0.9), (4, 20, 0.5, 0.3), (6, 6, 8.0, 0.5)],
)
def test_intervals_of_mean_ranks_hold_together(
    models: int, columns: int, gap: float, alike: float
) -> None:
    """Numbers with normal errors of size 1; columns share a part of them, equal models their ranks.

    In half of the columns models stand the other way round, and every two are equal.
    """
    rng = np.random.default_rng(11)
    order = np.arange(models) // 2
    truth = gap * np.where(np.arange(columns)[:, None] % 2, order, order[::-1])
    shares = np.arange(1.0, columns + 1) / sum(range(columns + 1))
    ranks = shares @ rankdata(-truth, axis=1)
    repetitions, covered, widths = 600, 0, []
    for _ in range(repetitions):
        errors = np.sqrt(alike) * rng.normal(size=(1, models))
        values = truth + errors + np.sqrt(1 - alike) * rng.normal(size=(columns, models))
        apart = abs(values[:, :, None] - values[:, None, :])
        found = mean_ranks(values, 2 * norm.sf(apart / np.sqrt(2)), shares)
        inside = (found.lower - 1e-9 <= ranks) & (ranks <= found.upper + 1e-9)
        covered += bool(inside.all())
        widths.append(np.mean(found.upper - found.lower))
    assert covered / repetitions >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / repetitions)
    # Nothing is known where nothing differs; pairs that are far apart leave one place open.
    if gap in (0.0, 8.0):
        assert np.median(widths) == pytest.approx(models - 1 if gap == 0.0 else 1.0)


def test_columns_that_say_the_same_are_not_corrected_for_each_other() -> None:
    values, p = np.tile([1.0, 0.0], (20, 1)), np.full((20, 2, 2), 0.04)
    found = mean_ranks(values, p, np.full(20, 1 / 20))
    assert found.lower == pytest.approx([1.0, 2.0]) and found.upper == pytest.approx([1.0, 2.0])
    assert rank_sets(values[0], p[0] * 20).upper.tolist() == [2, 2], "Bonferroni shows nothing"


@pytest.mark.parametrize("step", [0.0, 0.3])
def test_rank_sets_for_other_seeds_hold_the_ranks_of_the_next_trainings(step: float) -> None:
    rng, held = np.random.default_rng(4), np.zeros(2)
    means = step * np.arange(4)
    for _ in range(300):
        trainings = means[:, None] + 0.1 * rng.normal(size=(4, 5))
        shown = trainings[:, 0] + 0.03 * rng.normal(size=4)
        p = 2 * ndtr(-np.abs(shown[:, None] - shown[None, :]) / (0.03 * np.sqrt(2)))
        other = means + 0.1 * rng.normal(size=4)
        ranks = 1 + (other[None, :] > other[:, None]).sum(axis=1)
        variances = trainings.var(axis=1, ddof=1)
        following = of_next_trainings(shown, p, variances, np.full(4, 4.0), 1000)
        assert np.array_equal(following, following.T) and (following >= p - 1e-12).all()
        sets = [rank_sets(shown, one) for one in (p, following)]
        held += [bool(((one.lower <= ranks) & (ranks <= one.upper)).all()) for one in sets]
    assert held[1] >= 0.93 * 300
    assert (held[0] < 0.7 * 300) == (step == 0.0)
    assert np.array_equal(of_next_trainings(shown, p, np.zeros(4), np.ones(4), 1000), p)
