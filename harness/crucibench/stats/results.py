"""What the functions of this package return: an interval, a resampled estimate, a difference.

A result that has no interval says why in ``reason``; a number without a reason is never missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from crucibench.contracts.statistic import Interval


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """A statistic, and what resampling says of its precision.

    Attributes:
        estimate: The statistic on the sample itself (every weight one); nan where undefined.
        interval: Its interval, or None, and then ``reason`` says why.
        standard_error: Of the replicates (bootstrap) or of the deletions (jackknife); nan where
            there is no interval for want of defined replicates. Exactly 0 when degenerate.
        replicates_used: Number of replicates (deletions, for a jackknife) that were finite.
        undefined: Number of replicates that were not, and were dropped.
        method: What was done; the interval's method where there is one.
        reason: Why there is no interval; None where there is one.
        degenerate: Every replicate was the same number, so that resampling shows no spread. That
            is no proof of precision (0 errors in 20 is not 0 errors for ever): no interval then.
    """

    estimate: float
    interval: Interval | None
    standard_error: float
    replicates_used: int
    undefined: int
    method: str
    reason: str | None = None
    degenerate: bool = False


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """First minus second, both measured on the same samples.

    Attributes:
        estimate: The difference; nan where either side is undefined.
        interval: Its interval, or None, and then ``reason`` says why.
        standard_error: Standard error of the difference; nan where unknown.
        p_value: Two-sided, of no difference; nan where it cannot be computed.
        method: What gave ``p_value`` (and the interval, where there is one).
        reason: Why there is no interval; None where there is one.
        degenerate: Resampling (or the variance formula) shows no spread at all, as for two models
            that answer alike. With an estimate of 0 the p-value is then 1.
    """

    estimate: float
    interval: Interval | None
    standard_error: float
    p_value: float
    method: str
    reason: str | None = None
    degenerate: bool = False
