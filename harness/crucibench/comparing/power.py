"""How many pairs of samples a difference needs to be shown."""

from __future__ import annotations

import math

from crucibench.comparing.results import MetricDifference
from crucibench.stats import required_n_mean, required_n_paired_proportions, wilson

POWER = 0.8
_Z = 1.959963984540054


def standard_error(difference: MetricDifference) -> float | None:
    """Returns the standard error of the difference, from its interval if need be; None if 0."""
    error = difference.standard_error
    if error is not None and math.isfinite(error) and error > 0:
        return error
    if difference.interval is None:
        return None
    half = (difference.interval.upper - difference.interval.lower) / 2
    return half / _Z if half > 0 else None


def n_needed(difference: MetricDifference, size: float, power: float = POWER) -> int | None:
    """Returns the pairs that a loss of `size` needs: of equal models, `power` pass then.

    The spread of the difference is taken to stay as it is.
    """
    n = difference.n
    if n < 1:
        return None
    if difference.flips is not None:
        if size > 1:
            return None
        return required_n_paired_proportions(
            size, max(share_flipped(difference), size), power=power
        )
    error = standard_error(difference)
    return None if error is None else required_n_mean(size, error * math.sqrt(n), power=power)


def share_flipped(difference: MetricDifference) -> float:
    """Returns the share of pairs that tell two models apart, or the most that none seen allows."""
    assert difference.flips is not None
    flipped = len(difference.flips.lost) + len(difference.flips.gained)
    return flipped / difference.n if flipped else wilson(0, difference.n).upper
