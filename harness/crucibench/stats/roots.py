"""Roots of a function of one number, without importing ``scipy.optimize`` (a tenth of a second)."""

from __future__ import annotations

import math
from collections.abc import Callable


def root(of: Callable[[float], float], low: float, high: float, *, tolerance: float) -> float:
    """Returns where a continuous function that changes its sign in [low, high] is 0.

    By regula falsi in the Illinois form (Dowell and Jarratt 1971): the value at an end that stays
    is halved, which makes it converge faster than linearly; a step that gains too little bisects.

    Args:
        of: the function.
        low: the one end.
        high: the other, which may be below.
        tolerance: how far off the root may be.

    Raises:
        ValueError: if the function has one sign at both ends.
    """
    low, high = min(low, high), max(low, high)
    at_low, at_high = of(low), of(high)
    if at_low == 0.0:
        return low
    if at_high == 0.0:
        return high
    if (at_low > 0.0) == (at_high > 0.0):
        raise ValueError(
            f"of: one sign at both ends: {at_low:g} at {low:g}, {at_high:g} at {high:g}"
        )
    kept, bisect = 0, False
    while high - low > tolerance:
        width = high - low
        fall = at_low - at_high
        middle = low + width * (0.5 if bisect or math.isinf(fall) else at_low / fall)
        # Half a tolerance inside, so that a root beside an end closes the interval there.
        middle = min(max(middle, low + tolerance / 2.0), high - tolerance / 2.0)
        value = of(middle)
        if value == 0.0:
            return middle
        if (value > 0.0) == (at_low > 0.0):
            low, at_low = middle, value
            at_high, kept = (at_high / 2.0 if kept < 0 else at_high), -1
        else:
            high, at_high = middle, value
            at_low, kept = (at_low / 2.0 if kept > 0 else at_low), 1
        bisect = high - low > width / 2.0 and not bisect
    return (low + high) / 2.0
