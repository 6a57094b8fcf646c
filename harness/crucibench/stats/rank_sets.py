"""Ranks that say how far the data settle them: rank intervals, win rates, mean ranks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crucibench.stats import _checks
from crucibench.stats.multiple import holm


class RankSets(NamedTuple):
    """Which of M models are told apart in one number, and the ranks that this leaves open.

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


def win_rates(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each model's mean share of other models that it beats, over columns.

    Args:
        values: (B, C, M): B replicates of C columns of M models, the higher the better, nan where
            a model has no number. Equal numbers are half a win.

    Returns:
        (B, M) in [0, 1]: the mean over the columns in which the model and another have a number;
        nan where there is none.
    """
    beaten, others = _beaten(values)
    with np.errstate(invalid="ignore"):
        return _mean_of_defined(beaten / others)


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each model's mean rank over columns, 1 for the best; equal numbers share their ranks.

    Args:
        values: As for `win_rates`.

    Returns:
        (B, M) of at least 1; nan where a model shares no column with another.
    """
    beaten, others = _beaten(values)
    return _mean_of_defined(np.where(others > 0, 1.0 + others - beaten, np.nan))


def _beaten(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (B, C, M) how many others each model beats, ties half, and how many there are."""
    there = ~np.isnan(values)
    beaten = np.zeros(values.shape)
    # Model by model, so that memory grows with M and not with its square.
    for k in range(values.shape[2]):
        other = values[:, :, k : k + 1]
        beaten += (values > other) + 0.5 * (values == other)
    others = there.sum(axis=2, keepdims=True) - 1.0
    # Against itself every model has drawn.
    return np.where(there, beaten - 0.5, np.nan), np.where(there, others, np.nan)


def _mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    defined = ~np.isnan(values)
    counts = defined.sum(axis=1)
    sums = np.where(defined, values, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
