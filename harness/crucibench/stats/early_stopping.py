"""How many queries a percentile of latency needs: the rules of MLPerf's LoadGen.

With t of n queries over a bound, the bound holds for the share p of all queries, with confidence c,
if so few would be over it by chance at most in the share 1 - c of runs otherwise
(``loadgen/early_stopping.cc``, tolerance d = 0).
"""

from __future__ import annotations

import math
from functools import lru_cache

from scipy.special import bdtr

from crucibench.stats import _checks

CONFIDENCE = 0.99
"""LoadGen's."""


@lru_cache(maxsize=4096)
def minimum_queries(over: int, share: float, confidence: float = CONFIDENCE) -> int:
    """Return how many queries must be made if ``over`` of them exceed the latency bound.

    The smallest h + t, with h queries within the bound and t over it, for which
    BinomialCDF(t; h + t, 1 - share) is at most 1 - confidence.

    Args:
        over: t, at least 0.
        share: the percentile as a share, in (0, 1).
        confidence: in (0, 1).
    """
    allowed = _checks.count("over", over)
    share = _checks.level(share, "share")
    error = 1 - _checks.level(confidence, "confidence")

    def enough(within: int) -> bool:
        return float(bdtr(allowed, within + allowed, 1 - share)) <= error

    high = 1
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high + allowed


def allowed_over(queries: int, share: float, confidence: float = CONFIDENCE) -> int:
    """Return the most queries over the bound that ``queries`` can bear; -1 if not even none."""
    total = _checks.count("queries", queries)
    if minimum_queries(0, share, confidence) > total:
        return -1
    low, high = 0, max(1, math.ceil(total * (1 - share)) + 1)
    while high - low > 1:
        middle = (low + high) // 2
        fits = minimum_queries(middle, share, confidence) <= total
        low, high = (middle, high) if fits else (low, middle)
    return low


def early_stopping_rank(queries: int, share: float, confidence: float = CONFIDENCE) -> int | None:
    """Return which of ``queries`` sorted latencies bounds the percentile from above, from 0.

    LoadGen's estimate for single and multiple streams: of the t slowest queries that may exceed the
    bound t - 1 are discarded, and the next is reported. None if there are too few queries for t = 1
    (64 for p90, 662 for p99).
    """
    over = allowed_over(queries, share, confidence)
    return queries - over if over >= 1 else None
