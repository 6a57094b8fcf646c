"""McNemar's test: do two models err equally often on the same samples?

Only the discordant pairs count: b, the first right and the second wrong, and c, the reverse. With
no difference b is binomial(b + c, 1/2).
"""

from __future__ import annotations

import math

from scipy.special import bdtr, erfc, gammaln

from crucibench.stats import _checks


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided exact p-value; 1 where no pair is discordant.

    It costs the same at any size, so the asymptotic form is never needed for speed.

    Args:
        b: Pairs that only the first gets right, >= 0.
        c: Pairs that only the second gets right, >= 0.

    Returns:
        P(a split at least as uneven), in (0, 1]; it may underflow to 0.

    Raises:
        ValueError: A negative or broken count.

    Source:
        McNemar 1947, Psychometrika 12:153, in the exact form; Agresti 2013, Categorical Data
        Analysis, section 11.1.
    """
    few, total = _discordant(b, c)
    # Twice the lower tail counts the middle term twice where b equals c.
    return min(1.0, 2.0 * float(bdtr(few, total, 0.5)))


def mcnemar_mid_p(b: int, c: int) -> float:
    """Return the mid-p value: half the probability of what was seen is left out.

    Less conservative than the exact test, and almost always within its level.

    Args:
        b: Pairs that only the first gets right, >= 0.
        c: Pairs that only the second gets right, >= 0.

    Returns:
        A p-value in (0, 1]; 1 where no pair is discordant.

    Raises:
        ValueError: A negative or broken count.

    Source:
        Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91.
    """
    few, total = _discordant(b, c)
    if 2 * few == total:
        return 1.0
    log_seen = gammaln(total + 1) - gammaln(few + 1) - gammaln(total - few + 1)
    seen = math.exp(float(log_seen) - total * math.log(2.0))
    return max(0.0, 2.0 * float(bdtr(few, total, 0.5)) - seen)


def mcnemar_asymptotic(b: int, c: int, *, continuity: bool = False) -> float:
    """Return the p-value of the chi-square test with one degree of freedom.

    Args:
        b: Pairs that only the first gets right, >= 0.
        c: Pairs that only the second gets right, >= 0.
        continuity: Edwards's correction, |b - c| - 1.

    Returns:
        A p-value in [0, 1]; 1 where no pair is discordant.

    Raises:
        ValueError: A negative or broken count.

    Source:
        McNemar 1947, Psychometrika 12:153; Edwards 1948, Psychometrika 13:185.
    """
    few, total = _discordant(b, c)
    if total == 0:
        return 1.0
    gap = float(total - 2 * few)
    if continuity:
        gap = max(0.0, gap - 1.0)
    # P(chi-square with one degree of freedom > x**2) = erfc(x / sqrt 2).
    return float(erfc(gap / math.sqrt(2.0 * total)))


def _discordant(b: int, c: int) -> tuple[int, int]:
    """Return the smaller of the two counts, and their sum."""
    b, c = _checks.count("b", b), _checks.count("c", c)
    return min(b, c), b + c
