"""Closed-form intervals: one proportion, a normal estimate, a difference of two proportions."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri, stdtrit

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks

__all__ = [
    "Interval",
    "clopper_pearson",
    "newcombe_paired",
    "newcombe_unpaired",
    "normal",
    "share_interval",
    "student_t",
    "wilson",
]


def normal_quantile(level: float) -> float:
    """Return z with P(-z < Z < z) = ``level`` for a standard normal Z; ``level`` in (0, 1)."""
    # From the lower tail: 1 - (1 - level) / 2 would round away digits for levels close to 1.
    return -float(ndtri((1.0 - _checks.level(level)) / 2.0))


def _successes_of(
    successes: int, n: int, names: tuple[str, str] = ("successes", "n")
) -> tuple[int, int]:
    total = _checks.count(names[1], n, minimum=1)
    hits = _checks.count(names[0], successes)
    if hits > total:
        raise ValueError(f"{names[0]}: expected at most {names[1]} = {total}, got {hits}")
    return hits, total


def _wilson_bounds(successes: int, n: int, z: float) -> tuple[float, float]:
    p = successes / n
    scale = 1.0 + z * z / n
    centre = (p + z * z / (2.0 * n)) / scale
    half = z / scale * math.sqrt(p * (1.0 - p) / n + z * z / (4.0 * n * n))
    # At the ends one bound equals the end exactly; float arithmetic would leave 1e-17 about it.
    lower = 0.0 if successes == 0 else max(0.0, centre - half)
    upper = 1.0 if successes == n else min(1.0, centre + half)
    return lower, upper


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return the Wilson score interval of a proportion, without continuity correction.

    Its coverage is close to the level on average, but dips below it for some proportions (to
    about 0.92 at 95 % for p near 0 or 1, whatever n).

    Args:
        successes: Number of successes, 0 to ``n``.
        n: Number of trials, at least 1.
        level: Confidence level, in (0, 1).

    Returns:
        Bounds in [0, 1], exactly 0 at no success and exactly 1 at ``n``; method ``wilson``.

    Raises:
        ValueError: ``n`` is 0, ``successes`` exceeds ``n``, or ``level`` is outside (0, 1).

    Source:
        Wilson 1927, JASA 22:209; Newcombe 1998, Statistics in Medicine 17:857, method 3.
    """
    successes, n = _successes_of(successes, n)
    lower, upper = _wilson_bounds(successes, n, normal_quantile(level))
    return Interval(lower, upper, float(level), "wilson")


RARE = 10
"""With fewer of either outcome than this, a proportion's interval is the exact one."""


def share_interval(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return the interval of a proportion: Wilson's, and the exact one where an outcome is rare.

    Wilson's coverage at 95 % drops to 84 % where less than one of an outcome is expected, and to
    92 % with a few. With the Clopper-Pearson interval below 10 of either outcome it stays above
    93 % for n from 20 to 1,000, at no more width elsewhere.

    Args:
        successes: Number of successes, 0 to ``n``.
        n: Number of trials, at least 1.
        level: Confidence level, in (0, 1).

    Returns:
        Bounds in [0, 1]; method ``wilson`` or ``clopper-pearson``.

    Raises:
        ValueError: As `wilson`.
    """
    rare = min(successes, n - successes) < RARE
    return clopper_pearson(successes, n, level) if rare else wilson(successes, n, level)


def clopper_pearson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Return the Clopper-Pearson ("exact") interval of a proportion.

    It never covers less than the level, and is wider than Wilson's for it.

    Args:
        successes: Number of successes, 0 to ``n``.
        n: Number of trials, at least 1.
        level: Confidence level, in (0, 1).

    Returns:
        Bounds in [0, 1], exactly 0 at no success and exactly 1 at ``n``; method
        ``clopper-pearson``.

    Raises:
        ValueError: ``n`` is 0, ``successes`` exceeds ``n``, or ``level`` is outside (0, 1).

    Source:
        Clopper and Pearson 1934, Biometrika 26:404, by quantiles of the beta distribution.
    """
    successes, n = _successes_of(successes, n)
    tail = (1.0 - _checks.level(level)) / 2.0
    failures = n - successes
    lower = 0.0 if successes == 0 else float(betaincinv(successes, failures + 1, tail))
    # The upper bound is one minus the lower bound of the failures: no cancellation in the tail.
    upper = 1.0 if failures == 0 else 1.0 - float(betaincinv(failures, successes + 1, tail))
    return Interval(lower, upper, float(level), "clopper-pearson")


def normal(
    estimate: float,
    standard_error: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> Interval:
    """Return estimate +- z * standard error, cut off at ``bounds``.

    Args:
        estimate: A finite number inside ``bounds``.
        standard_error: A finite number >= 0, in the unit of the estimate.
        level: Confidence level, in (0, 1).
        bounds: Smallest and largest possible value of what is estimated.

    Returns:
        The interval; method ``normal``.

    Raises:
        ValueError: A number that is not finite, a negative standard error, an estimate outside
            its bounds, or a level outside (0, 1).
    """
    estimate = _checks.finite("estimate", estimate)
    standard_error = _checks.finite("standard_error", standard_error)
    if standard_error < 0.0:
        raise ValueError(f"standard_error: expected a number >= 0, got {standard_error!r}")
    half = normal_quantile(level) * standard_error
    lower, upper = clip_to(estimate, estimate - half, estimate + half, bounds)
    return Interval(lower, upper, float(level), "normal")


def student_t(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval of a mean of few independent values, such as rounds of a timing.

    Args:
        values: Shape (n,), n at least 2, finite.
        level: Confidence level, in (0, 1).

    Returns:
        The interval; method ``student-t``.

    Raises:
        ValueError: Fewer than two values, or one that is not finite.
    """
    array = _checks.vector("values", values)
    if array.size < 2:
        raise ValueError(f"values: expected at least 2, got {array.size}")
    quantile = -float(stdtrit(array.size - 1, (1.0 - _checks.level(level)) / 2.0))
    half = quantile * float(array.std(ddof=1)) / math.sqrt(array.size)
    mean = float(np.mean(array))
    return Interval(mean - half, mean + half, float(level), "student-t")


def clip_to(
    estimate: float, lower: float, upper: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Cut an interval off at the ends of what its estimate can be.

    Raises:
        ValueError: The estimate itself lies outside ``bounds``, or they are not in order.
    """
    low, high = float(bounds[0]), float(bounds[1])
    if not low <= estimate <= high:
        raise ValueError(f"estimate: expected a number within bounds {bounds}, got {estimate!r}")
    return max(lower, low), min(upper, high)


def newcombe_unpaired(s1: int, n1: int, s2: int, n2: int, level: float = 0.95) -> Interval:
    """Return Newcombe's hybrid score interval of p1 - p2 for two independent samples.

    Args:
        s1: Successes in the first sample, 0 to ``n1``.
        n1: Size of the first sample, at least 1.
        s2: Successes in the second sample, 0 to ``n2``.
        n2: Size of the second sample, at least 1.
        level: Confidence level, in (0, 1).

    Returns:
        Bounds in [-1, 1]; method ``newcombe-unpaired``.

    Raises:
        ValueError: An empty sample, more successes than trials, or a level outside (0, 1).

    Source:
        Newcombe 1998, Statistics in Medicine 17:873, method 10 (Wilson bounds, no continuity
        correction).
    """
    s1, n1 = _successes_of(s1, n1, ("s1", "n1"))
    s2, n2 = _successes_of(s2, n2, ("s2", "n2"))
    lower, upper = _square_and_add((s1, n1), (s2, n2), 0.0, normal_quantile(level))
    return Interval(lower, upper, float(level), "newcombe-unpaired")


def newcombe_paired(n11: int, n10: int, n01: int, n00: int, level: float = 0.95) -> Interval:
    """Return Newcombe's square-and-add interval of p1 - p2 for paired proportions.

    p1 = (n11 + n10) / n and p2 = (n11 + n01) / n, so that p1 - p2 = (n10 - n01) / n. Unlike a
    bootstrap or a Wald interval it has width when no pair is discordant, so two models that agree
    on all of 200 samples are not claimed to be equal.

    Args:
        n11: Pairs in which both succeed.
        n10: Pairs in which only the first succeeds.
        n01: Pairs in which only the second succeeds.
        n00: Pairs in which both fail.
        level: Confidence level, in (0, 1).

    Returns:
        Bounds in [-1, 1]; method ``newcombe-paired``.

    Raises:
        ValueError: A negative count, no pair at all, or a level outside (0, 1).

    Source:
        Newcombe 1998, Statistics in Medicine 17:2635, method 10.
    """
    names = ("n11", "n10", "n01", "n00")
    a, b, c, d = (_checks.count(k, v) for k, v in zip(names, (n11, n10, n01, n00), strict=True))
    n = a + b + c + d
    if n == 0:
        raise ValueError("n11 + n10 + n01 + n00: expected at least one pair, got 0")
    # Python integers: the product of four margins of a million samples exceeds 64 bits.
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    cross = float(a * d - b * c)
    if cross > 0.0:  # the correction for continuity of method 10
        cross = max(cross - n / 2.0, 0.0)
    phi = cross / math.sqrt(margins) if margins else 0.0
    lower, upper = _square_and_add((a + b, n), (a + c, n), phi, normal_quantile(level))
    return Interval(lower, upper, float(level), "newcombe-paired")


def _square_and_add(
    first: tuple[int, int], second: tuple[int, int], phi: float, z: float
) -> tuple[float, float]:
    """Combine the distances to two Wilson bounds, correlated by ``phi``, into one difference.

    Each sample is (successes, size).
    """
    p1, p2 = first[0] / first[1], second[0] / second[1]
    lower1, upper1 = _wilson_bounds(*first, z)
    lower2, upper2 = _wilson_bounds(*second, z)

    def combined(one: float, other: float) -> float:
        # |phi| <= 1 keeps this from going negative, up to rounding.
        return math.sqrt(max(0.0, one**2 - 2.0 * phi * one * other + other**2))

    difference = p1 - p2
    below = combined(p1 - lower1, upper2 - p2)
    above = combined(upper1 - p1, p2 - lower2)
    return max(-1.0, difference - below), min(1.0, difference + above)
