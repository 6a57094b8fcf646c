"""Intervals from influence functions: the jackknife's limit, in one pass."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.intervals import normal_quantile


def linearised_error(influences: ArrayLike, units: ArrayLike | None = None) -> float:
    """Return the standard error of a statistic of weighted samples from its derivatives.

    Args:
        influences: (n,) derivative of the statistic by each sample's weight, at weights of one;
            they sum to 0.
        units: (n,) integer codes of samples that belong together and are drawn together, e.g. the
            two scores of one sample as it is and as it was changed; None where all are independent.

    Returns:
        sqrt(u / (u - 1) * sum over u units of (sum of their influences)^2); nan for fewer than two.

    Source:
        The infinitesimal jackknife, Efron 1982, The Jackknife, the Bootstrap and Other Resampling
        Plans, chapter 6; summed by cluster as in Obuchowski 1997, Biometrics 53:567.
    """
    values = np.asarray(_checks.vector("influences", influences))
    if units is not None:
        codes, count = _checks.codes("units", units, values.size)
        values = np.asarray(np.bincount(codes, weights=values, minlength=count), dtype=np.float64)
    if values.size < 2:
        return math.nan
    return math.sqrt(values.size / (values.size - 1.0) * float(values @ values))


def linearised_interval(
    share: float, influences: ArrayLike, units: ArrayLike | None = None, level: float = 0.95
) -> Interval | None:
    """Return a normal interval on the logit scale of a number in [0, 1].

    Args:
        share: The statistic.
        influences: As for `linearised_error`.
        units: As for `linearised_error`.
        level: Confidence level, in (0, 1).

    Returns:
        The interval, method ``linearised-logit``; None where the share is 0 or 1 or its standard
        error is 0 or undefined, so that there is no spread to go by.
    """
    level = _checks.level(level)
    error = linearised_error(influences, units)
    if not (0.0 < share < 1.0 and error > 1e-12):
        return None
    centre = float(logit(share))
    half = normal_quantile(level) * error / (share * (1.0 - share))
    return Interval(
        float(expit(centre - half)), float(expit(centre + half)), level, "linearised-logit"
    )
