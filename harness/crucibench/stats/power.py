"""What n can show: smallest detectable differences, and the n that a difference needs.

All are normal approximations for a two-sided test at 5 % that finds a true difference with
probability ``power``. Proportions are shares in [0, 1], not percentages.
"""

from __future__ import annotations

import math

from scipy.special import ndtri

from crucibench.stats import _checks

_ALPHA = 0.05


def detectable_paired_proportions(
    n: int, discordance: float, *, power: float = 0.8
) -> float | None:
    """Return the smallest difference of two paired proportions that n pairs can show.

    Args:
        n: Number of pairs, at least 1.
        discordance: Share of pairs that one gets right and the other wrong, in (0, 1]. Where none
            was seen, use an upper bound of it (of `wilson`, say): 0 would promise everything.
        power: Probability of finding a true difference, in (0, 1).

    Returns:
        The difference, at most ``discordance``, or None where not even discordant pairs that all
        go one way would be found.

    Raises:
        ValueError: An argument out of range.

    Source:
        Connor 1987, Biometrics 43:207: z_a sqrt(psi) + z_b sqrt(psi - d**2) =
        d sqrt(n), solved for d.
    """
    n = _checks.count("n", n, minimum=1)
    psi = _proportion("discordance", discordance)
    z_alpha, z_power = _quantiles(power)
    # Squaring gives (n + z_b**2) d**2 - 2 z_a sqrt(psi n) d + (z_a**2 - z_b**2) psi = 0; its
    # root of the sign of z_b is the one wanted (z_b < 0 for a power below one half).
    under_root = psi * (n - z_alpha**2 + z_power**2)
    if under_root < 0.0:
        return None
    found = (z_alpha * math.sqrt(psi * n) + z_power * math.sqrt(under_root)) / (n + z_power**2)
    return found if found <= psi else None


def detectable_mean(
    n: int,
    standard_deviation: float,
    *,
    power: float = 0.8,
) -> float:
    """Return the smallest mean (or mean paired difference) that n samples can tell from 0.

    For any statistic, ``standard_deviation`` is its standard error times sqrt(n).

    Args:
        n: Number of samples, at least 1.
        standard_deviation: Of the samples (or of their paired differences), > 0.
        power: Probability of finding a true difference, in (0, 1).

    Returns:
        The mean, (z_a + z_b) standard_deviation / sqrt(n), in its unit.

    Raises:
        ValueError: An argument out of range.
    """
    n = _checks.count("n", n, minimum=1)
    deviation = _positive("standard_deviation", standard_deviation)
    return sum(_quantiles(power)) * deviation / math.sqrt(n)


def required_n_paired_proportions(
    difference: float,
    discordance: float,
    *,
    power: float = 0.8,
) -> int:
    """Return the number of pairs that a difference of two paired proportions needs.

    Args:
        difference: What is to be found, not 0; its sign does not matter.
        discordance: Share of discordant pairs, in (0, 1], at least the difference.
        power: Probability of finding a true difference, in (0, 1).

    Returns:
        The smallest such n.

    Raises:
        ValueError: An argument out of range, or a difference above the discordance, which no
            pairs can have.

    Source:
        Connor 1987, Biometrics 43:207.
    """
    d = _positive("difference", abs(difference))
    psi = _proportion("discordance", discordance)
    if d > psi:
        raise ValueError(
            f"difference: expected at most the discordance {psi}, got {difference}: "
            "only discordant pairs can make a difference"
        )
    z_alpha, z_power = _quantiles(power)
    root = (z_alpha * math.sqrt(psi) + z_power * math.sqrt(psi - d * d)) / d
    return _at_least_one(root)


def required_n_mean(
    difference: float,
    standard_deviation: float,
    *,
    power: float = 0.8,
) -> int:
    """Return the n that telling a mean (or mean paired difference) from 0 needs.

    Args:
        difference: What is to be found, not 0; its sign does not matter.
        standard_deviation: Of the samples (or of their paired differences), > 0.
        power: Probability of finding a true difference, in (0, 1).

    Returns:
        The smallest such n.

    Raises:
        ValueError: An argument out of range.
    """
    d = _positive("difference", abs(difference))
    deviation = _positive("standard_deviation", standard_deviation)
    return _at_least_one(sum(_quantiles(power)) * deviation / d)


def _quantiles(power: float) -> tuple[float, float]:
    """Return z_a and z_b; their sum must be positive, or any n would do."""
    z_alpha = -float(ndtri(_ALPHA / 2))
    z_power = float(ndtri(_checks.level(power, "power")))
    if z_alpha + z_power <= 0.0:
        raise ValueError(f"power: expected more than a test of nothing has, got {power}")
    return z_alpha, z_power


def _proportion(name: str, value: float) -> float:
    number = float(value)
    if not 0.0 < number <= 1.0:
        raise ValueError(f"{name}: expected a share in (0, 1], got {value!r}")
    return number


def _positive(name: str, value: float) -> float:
    number = _checks.finite(name, value)
    if number <= 0.0:
        raise ValueError(f"{name}: expected a number other than 0 (> 0), got {value!r}")
    return number


def _at_least_one(root: float) -> int:
    """Return the smallest whole n >= 1 whose square root is at least ``root``."""
    # Against rounding: a difference that n = 400 detects must not ask for 401.
    return max(1, math.ceil(root * root * (1.0 - 1e-12)))
