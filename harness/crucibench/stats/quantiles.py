"""Quantiles of a sample by order statistics: no interpolation, whatever the distribution."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks

ORDER_STATISTICS = "order-statistics"


def quantile_rank(n: int, share: float) -> int:
    """Return the position of a quantile among ``n`` sorted values, from 0: floor(n * share).

    The convention of MLPerf's LoadGen (``loadgen/results.cc``). Of the product's rounding error a
    part in 1e12 is forgiven, so that 0.29 of 100 values is position 29.
    """
    total = _checks.count("n", n, minimum=1)
    return min(total - 1, math.floor(total * _checks.level(share, "share") * (1 + 1e-12)))


def quantile(values: ArrayLike, share: float) -> float:
    """Return the quantile: one of the values themselves.

    Args:
        values: shape (n,), n at least 1.
        share: in (0, 1).
    """
    array = _checks.vector("values", values)
    rank = quantile_rank(array.size, share)
    return float(np.partition(array, rank)[rank])


def quantile_interval(values: ArrayLike, share: float, level: float = 0.95) -> Interval | None:
    """Return the interval of a quantile between two order statistics, or None.

    The number of independent values below the true quantile is binomial, whatever their
    distribution, so that two order statistics enclose it with at least the level's probability
    (David and Nagaraja 2003, Order Statistics, section 7.1). Each tail has at most half of what the
    level leaves. None where a bound would lie beyond the smallest or the largest value.

    Args:
        values: shape (n,), n at least 1; independent.
        share: in (0, 1).
        level: in (0, 1).
    """
    array = np.sort(_checks.vector("values", values))
    below, above = quantile_ranks(array.size, share, level)
    if below < 0 or above >= array.size:
        return None
    return Interval(float(array[below]), float(array[above]), level, ORDER_STATISTICS)


def quantile_ranks(n: int, share: float, level: float = 0.95) -> tuple[int, int]:
    """Return the positions of the interval's ends among ``n`` sorted values, from 0.

    -1 or ``n`` where there is no such value. The counterpart of `quantile_interval` for values that
    are sorted already.
    """
    total = _checks.count("n", n, minimum=1)
    share = _checks.level(share, "share")
    tail = (1 - _checks.level(level)) / 2
    counts = np.arange(total + 1, dtype=np.float64)
    # cumulative[k]: the probability that at most k values lie below the quantile.
    cumulative = bdtr(counts, total, share)
    # x[k] lies above the quantile if at most k values lie below the quantile, else below it.
    below = int(np.searchsorted(cumulative, tail, side="right")) - 1
    above = int(np.searchsorted(cumulative, 1 - tail, side="left"))
    return below, above
