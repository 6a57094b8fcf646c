"""From bootstrap replicates to an interval and a p-value: percentile and BCa."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from crucibench.contracts.statistic import Interval
from crucibench.stats.results import BootstrapResult

IntervalKind = Literal["auto", "bca", "percentile"]

BCA_UNITS = 1000
"""Up to this many units ``auto`` means BCa. Beyond, what it corrects has become small."""

MAX_UNDEFINED = 0.05
"""Largest share of undefined replicates with which there still is an interval.

Dropping replicates conditions on the statistic being defined. At 5 % the true quantiles of a 95 %
interval may already be off by its whole tail; beyond it the interval would describe the easy cases.
"""


class Correction(NamedTuple):
    """What BCa knows beyond the replicates.

    Attributes:
        bias: z0, the normal quantile of the share of replicates below the estimate.
        acceleration: a, how fast the standard error changes with the parameter.
    """

    bias: float
    acceleration: float


class ReplicateSummary(NamedTuple):
    """Replicates of one statistic, ready for an interval and a p-value.

    Attributes:
        result: The public result, with or without an interval.
        finite: (R,) the defined replicates.
        correction: The BCa correction where the interval is BCa, else None.
    """

    result: BootstrapResult
    finite: NDArray[np.float64]
    correction: Correction | None


def wants_bca(kind: IntervalKind, units: int) -> bool:
    """Whether an interval over so many units (or occupied cells) of a table is to be BCa.

    Raises:
        ValueError: An unknown kind.
    """
    if kind not in ("auto", "bca", "percentile"):
        raise ValueError(f"kind: expected 'auto', 'bca' or 'percentile', got {kind!r}")
    return kind == "bca" or (kind == "auto" and units <= BCA_UNITS)


def bias_correction(replicates: NDArray[np.float64], estimate: float) -> float:
    """Return BCa's z0, ties counting half; infinite where the estimate is beyond all replicates.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, equation 14.14; ties as in
        ``scipy.stats.bootstrap``.
    """
    below = np.count_nonzero(replicates < estimate) + np.count_nonzero(replicates <= estimate)
    return float(ndtri(below / (2.0 * replicates.size)))


def acceleration(
    influences: NDArray[np.float64],
) -> float:
    """Return BCa's a from jackknife influences; nan where undefined.

    Args:
        influences: (m,) mean of the deletion values minus each of them, any common scale.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, equation 14.15.
    """
    # The scale cancels; taking it out first keeps the cube of a tiny influence from vanishing.
    scale = float(np.max(np.abs(influences), initial=0.0))
    if not math.isfinite(scale) or scale == 0.0:
        return math.nan
    scaled = influences / scale
    spread = float(np.sum(scaled**2))
    skew = float(np.sum(scaled**3))
    return skew / (6.0 * math.pow(spread, 1.5))


def summarise(
    replicates: NDArray[np.float64],
    estimate: float,
    *,
    level: float,
    influences: NDArray[np.float64] | None,
    template: str,
    notes: tuple[str, ...] = (),
) -> ReplicateSummary:
    """Turn replicates into a result.

    Args:
        replicates: (R,) values, nan or infinite where undefined.
        estimate: The statistic on the sample itself.
        level: Confidence level, in (0, 1).
        influences: Jackknife influences for BCa; None for the percentile interval.
        template: Name of the method with ``{kind}`` for ``bca`` or ``percentile``.
        notes: What stands in brackets after it.

    Returns:
        The summary. Where BCa cannot be computed (a deletion without a value, an estimate beyond
        all replicates, a correction that folds over) the interval is the percentile one, and its
        method says so.
    """
    finite = replicates[np.isfinite(replicates)]
    undefined = int(replicates.size - finite.size)
    correction = _correction(finite, estimate, influences)
    ends = _bca_levels(level, correction) if correction is not None else None
    if ends is None:
        correction = None
        ends = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    if undefined:
        notes = (*notes, f"{undefined} undefined")
    method = template.format(kind="percentile" if correction is None else "bca")
    if notes:
        method = f"{method} ({', '.join(notes)})"

    reason = _why_none(finite, undefined, replicates.size, estimate)
    if reason is not None:
        result = BootstrapResult(estimate, None, math.nan, finite.size, undefined, method, reason)
        return ReplicateSummary(result, finite, None)
    error = float(np.std(finite, ddof=1))
    if without_spread(finite):
        reason = (
            f"all {finite.size} replicates are equal: the sample shows no spread to resample, "
            "which is no proof of precision"
        )
        result = BootstrapResult(estimate, None, 0.0, finite.size, undefined, method, reason, True)
        return ReplicateSummary(result, finite, None)
    lower, upper = (float(end) for end in np.quantile(finite, ends))
    interval = Interval(lower, upper, level, method)
    result = BootstrapResult(estimate, interval, error, finite.size, undefined, method)
    return ReplicateSummary(result, finite, correction)


def inversion_p_value(
    replicates: NDArray[np.float64], null: float = 0.0, correction: Correction | None = None
) -> float:
    """Return the two-sided p-value at which the bootstrap interval would just touch ``null``.

    Each tail counts one replicate more than was seen, so the p-value is never 0 and never smaller
    than the number of replicates can show.

    Args:
        replicates: (R,) finite replicates of a difference, R >= 1.
        null: The value under test.
        correction: BCa's, for a p-value that agrees with the BCa interval; None for percentile.

    Returns:
        A p-value in (0, 1].

    Source:
        Davison and Hinkley 1997, Bootstrap Methods and their Application, chapter 4 (the +1); the
        BCa level solved from Efron and Tibshirani 1993, equation 14.10.
    """
    total = replicates.size + 1.0
    # Replicates equal to the null speak for it, so both tails count them.
    at_most = (1 + np.count_nonzero(replicates <= null)) / total
    at_least = (1 + np.count_nonzero(replicates >= null)) / total
    if correction is None:
        return float(min(1.0, 2.0 * min(at_most, at_least)))
    lower_tail = _bca_tail(at_most, correction)
    upper_tail = 1.0 - _bca_tail(1.0 - at_least, correction)
    return float(min(1.0, max(2.0 / total, 2.0 * min(lower_tail, upper_tail))))


def without_spread(values: NDArray[np.float64]) -> bool:
    """Whether finite values are all equal, up to the rounding of sums in another order."""
    return bool(np.ptp(values) <= 1e-13 * np.max(np.abs(values)))


def _correction(
    finite: NDArray[np.float64],
    estimate: float,
    influences: NDArray[np.float64] | None,
) -> Correction | None:
    if influences is None or not finite.size or not math.isfinite(estimate):
        return None
    correction = Correction(bias_correction(finite, estimate), acceleration(influences))
    return correction if all(map(math.isfinite, correction)) else None


def _bca_levels(level: float, correction: Correction) -> tuple[float, float] | None:
    """Return the two percentile levels of BCa, or None where the correction folds over."""
    bias, a = correction
    ends = []
    for tail in ((1.0 - level) / 2.0, (1.0 + level) / 2.0):
        shifted = bias + float(ndtri(tail))
        if 1.0 - a * shifted <= 0.0:
            return None
        ends.append(float(ndtr(bias + shifted / (1.0 - a * shifted))))
    return ends[0], ends[1]


def _bca_tail(share: float, correction: Correction) -> float:
    """Return the tail level whose BCa percentile level is ``share``: `_bca_levels` inverted."""
    bias, a = correction
    if share <= 0.0 or share >= 1.0:
        return share
    shifted = float(ndtri(share)) - bias
    if 1.0 + a * shifted <= 0.0:
        # Beyond the fold no level reaches this share: the nearest is none or all.
        return 0.0 if shifted < 0.0 else 1.0
    return float(ndtr(shifted / (1.0 + a * shifted) - bias))


def _why_none(
    finite: NDArray[np.float64], undefined: int, total: int, estimate: float
) -> str | None:
    if not math.isfinite(estimate):
        return f"the statistic is undefined on the sample itself ({estimate})"
    if undefined > MAX_UNDEFINED * total:
        return (
            f"undefined on {undefined} of {total} replicates, "
            f"more than the {MAX_UNDEFINED:.0%} up to which they may be dropped"
        )
    return "fewer than two replicates" if finite.size < 2 else None
