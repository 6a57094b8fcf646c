"""Quantiles of a sample by order statistics: no interpolation, whatever the distribution."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtr

from crucibench.stats import _checks


def quantile_rank(n: int, share: float) -> int:
    """Return the position of a quantile among ``n`` sorted values, from 0: floor(n * share).

    The convention of MLPerf's LoadGen (``loadgen/results.cc``). Of the product's rounding error a
    part in 1e12 is forgiven, so that 0.29 of 100 values is position 29.
    """
    total = _checks.count("n", n, minimum=1)
    return min(total - 1, math.floor(total * _checks.level(share, "share") * (1 + 1e-12)))


def quantile_ranks(n: int, share: float, level: float = 0.95) -> tuple[int, int]:
    """Return the positions of the interval's ends among ``n`` sorted values, from 0.

    The number of independent values below the true quantile is binomial, whatever their
    distribution, so that two order statistics enclose it with at least the level's probability
    (David and Nagaraja 2003, Order Statistics, section 7.1). Each tail has at most half of what the
    level leaves. -1 or ``n`` where there is no such value.
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
