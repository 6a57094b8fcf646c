"""Ranks as intervals, since samples decide few of them: in one column, and over columns."""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from crucibench.stats import _checks
from crucibench.stats.multiple import holm
from crucibench.stats.two_way import TwoSources


class RankSets(NamedTuple):
    """Which of M models are shown to differ in one number, and the ranks that this leaves open.

    Attributes:
        better: (M, M) bool; ``better[j, k]`` says that j is shown to be better than k.
        lower: (M,) the best rank that a model may have, 1 or more.
        upper: (M,) the worst.
    """

    better: NDArray[np.bool_]
    lower: NDArray[np.intp]
    upper: NDArray[np.intp]


def rank_sets(values: ArrayLike, p_values: ArrayLike, *, level: float = 0.95) -> RankSets:
    """Turn paired tests of all pairs into simultaneous rank intervals.

    A model's rank is 1 plus the number of models that are truly better. A pair is told apart where
    Holm's adjusted p-value over all pairs is at most 1 - level. With probability `level` or more no
    pair is told apart wrongly, and then every interval holds its model's true rank.

    Args:
        values: (M,) finite numbers, the higher the better.
        p_values: (M, M) symmetric two-sided p-values of the differences; nan where a pair could
            not be tested, which is then not told apart. The diagonal is not read.
        level: Confidence of all intervals together, in (0, 1).

    Returns:
        The sets. Models of one ``lower`` form a rank group.

    Raises:
        ValueError: Another shape, a value that is not finite, or p-values that are not symmetric.

    Source:
        Holm 1979, Scandinavian Journal of Statistics 6:65; rank intervals from tests of all pairs,
        Al Mohamad, van Zwet, Solari and Goeman 2021, Biometrics 78:1092.
    """
    array = _checks.vector("values", values)
    level = _checks.level(level)
    m = array.size
    p = np.asarray(p_values, dtype=np.float64)
    if p.shape != (m, m):
        raise ValueError(f"p_values: expected shape ({m}, {m}), got {p.shape}")
    first, second = np.triu_indices(m, 1)
    if not np.array_equal(p[first, second], p[second, first], equal_nan=True):
        raise ValueError("p_values: expected a symmetric matrix")
    adjusted = holm(p[first, second])
    shown = ~np.isnan(adjusted) & (adjusted <= 1.0 - level)
    better = np.zeros((m, m), dtype=np.bool_)
    ahead = array[first] > array[second]
    better[first[shown & ahead], second[shown & ahead]] = True
    behind = array[first] < array[second]
    better[second[shown & behind], first[shown & behind]] = True
    return RankSets(better, 1 + better.sum(axis=0), m - better.sum(axis=1))


def of_next_trainings(
    values: NDArray[np.float64], p_values: NDArray[np.float64], variances: NDArray[np.float64],
    degrees: NDArray[np.float64], n: int,
) -> NDArray[np.float64]:  # fmt: skip
    """Return p-values of the differences of models that are each trained once more.

    What the samples leave open of a difference is read off its p-value; a training that takes the
    place of another moves the difference by both, so that each model's variance counts twice. Rank
    sets of these p-values hold the ranks of the next trainings.

    Args:
        values: (M,) finite numbers.
        p_values: (M, M) two-sided, as of `rank_sets`, of these trainings.
        variances: (M,) between trainings of a model's recipe; 0 where there are none but it.
        degrees: (M,) of freedom that each variance is known by; not read where that is 0.
        n: Samples.
    """
    found = p_values.copy()
    for j, k in combinations(range(len(values)), 2):
        pair, gap = [j, k], abs(float(values[j] - values[k]))
        training = 2.0 * float(variances[pair].sum())
        if not training > 0.0 or not gap > 0.0 or not p_values[j, k] < 1.0:
            continue
        error = gap / -float(ndtri(max(p_values[j, k], 1e-300) / 2.0))
        known = float(degrees[pair][variances[pair] > 0.0].sum())
        p = TwoSources(training, known, error**2, max(2, n)).p(gap)
        found[j, k] = found[k, j] = p
    return found


class MeanRanks(NamedTuple):
    """Mean ranks of M models over columns, 1 for the best.

    Attributes:
        value: (M,) of the numbers as they were measured; equal numbers share their ranks.
        lower: (M,) the best mean rank that a model may have.
        upper: (M,) the worst.
    """

    value: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


def mean_ranks(
    values: NDArray[np.float64],
    p_values: NDArray[np.float64],
    shares: NDArray[np.float64],
    *,
    level: float = 0.95,
) -> MeanRanks:
    """Return each model's mean rank over columns, with intervals that hold together.

    A model's true mean rank counts who is truly better, column by column, so it jumps where two
    models are equal: no bootstrap covers it. Closed testing with Simes' test over all pairs of all
    columns says instead, for every model at once, how many of its measured wins and losses may be
    equal or the other way round in truth; the interval is what the heaviest such set leaves open.
    Unlike a count of single rejections it gains from columns that say the same, and many weak
    differences in one direction add up.

    Args:
        values: (C, M) finite, the higher the better.
        p_values: (C, M, M) two-sided p-values of the differences, symmetric in the models; nan
            where a pair could not be tested, which then shows nothing. Diagonals are not read.
        shares: (C,) the weights of the columns, positive, with the sum 1.
        level: Confidence of all intervals together, in (0, 1).

    Source:
        Goeman, Meijer, Krebs and Solari 2019, Biometrika 106:841 (closed testing with Simes' test);
        Simes 1986, Biometrika 73:751, which holds for positively dependent tests. That it holds for
        pairs of models over shared samples, and for the direction of a difference, is simulated
        (``benchmarks/boards.py``).
    """
    alpha = 1.0 - _checks.level(level)
    m = values.shape[1]
    ahead = values[:, :, None] > values[:, None, :]
    level_with = values[:, :, None] == values[:, None, :]
    value = np.einsum("c,ckj->j", shares, ahead + 0.5 * level_with) + 0.5
    p = np.where(np.isnan(p_values), 1.0, p_values)
    first, second = np.triu_indices(m, 1)
    largest = _largest_unrejected(np.sort(p[:, first, second], axis=None), alpha)
    needed = np.ceil(p * largest / alpha)
    weights = np.broadcast_to(shares[:, None], (len(shares), m))
    lower, upper = np.empty(m), np.empty(m)
    for j in range(m):
        won, lost = ahead[:, j], ahead[:, :, j]
        upper[j] = m - weights[won].sum() + _heaviest(needed[:, j][won], weights[won])
        lower[j] = 1 + weights[lost].sum() - _heaviest(needed[:, j][lost], weights[lost])
    return MeanRanks(value, lower, upper)


def _largest_unrejected(p: NDArray[np.float64], alpha: float) -> int:
    """Return how many of the largest p-values (sorted) Simes' test does not reject together.

    If it rejects i of them, it rejects i + 1: a bisection finds the end.
    """
    low, high = 0, len(p)
    while low < high:
        middle = (low + high + 1) // 2
        steps = alpha * np.arange(1, middle + 1) / middle
        if (p[len(p) - middle :] > steps).all():
            low = middle
        else:
            high = middle - 1
    return low


def _heaviest(needed: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the greatest weight of hypotheses that may all be true.

    Closed testing rejects a set if, for some u, at least u of them need at most u. Sets that it
    keeps are those of jobs that can be scheduled before their deadlines, one at a time, where a
    hypothesis that needs u is due at u - 1: a matroid, so taking the heaviest first is best.
    """
    free = list(range(len(needed) + 1))  # The latest free slot at or before each; 0 is none.
    due = np.minimum(needed - 1.0, len(needed)).clip(0).astype(int)
    heaviest = 0.0
    for place in np.argsort(-weights, kind="stable"):
        slot = due[place]
        while free[slot] != slot:
            free[slot] = free[free[slot]]
            slot = free[slot]
        if slot > 0:
            free[slot] = slot - 1
            heaviest += weights[place]
    return heaviest
