"""McNemar's test: do two models err equally often on the same samples?

Only the discordant pairs count: b, the first right and the second wrong, and c, the reverse. With
no difference b is binomial(b + c, 1/2).
"""

from __future__ import annotations

from scipy.special import bdtr

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
    b, c = _checks.count("b", b), _checks.count("c", c)
    # Twice the lower tail counts the middle term twice where b equals c.
    return min(1.0, 2.0 * float(bdtr(min(b, c), b + c, 0.5)))
