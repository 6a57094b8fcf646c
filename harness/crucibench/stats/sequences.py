"""Evidence that holds at any time: a mean against a null, looked at as often as one likes.

The evidence of a side is an e-value: under the null its expectation is at most 1 at whatever look
one stops, so that the chance that it ever reaches 1 / p is at most p (Ville 1939). Samples come in
an order that has nothing to do with their outcomes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import logsumexp

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks

Floats = NDArray[np.float64]

BETTING, ASYMPTOTIC = "betting sequence", "asymptotic sequence"

FEWEST = 100
"""Of fewer units an asymptotic sequence says nothing: its error is that of the normal law."""

_STEPS = np.arange(6)
_WEIGHTS = 0.5 ** (_STEPS + 1.0) / (1.0 - 0.5 ** len(_STEPS))
_MOST_STAKE = 0.9


class Sided(NamedTuple):
    """The evidence about a mean, as natural logarithms of e-values.

    Attributes:
        above: that it is more than the null.
        below: that it is less.
    """

    above: float
    below: float

    @property
    def p(self) -> tuple[float, float]:
        """The p-values of both sides; with a chance of p at most, either ever is p or less.

        Two sides are looked at, so each is doubled: at 0.05 a null that is true is called wrong in
        either direction in 5 % of sequences at most, however long.
        """
        above, below = (min(1.0, 2.0 * math.exp(-max(0.0, side))) for side in self)
        return above, below


class Bets:
    """Bets on numbers within known bounds, in the order in which they were seen.

    Each of six players stakes what would grow fastest if the mean lay d from the null, d being
    1, 2, 4, ... 32 times the smallest effect that all samples can show, and the variance that of
    the blocks before: a player's capital is a product of 1 + stake * (x - null), and the e-value
    the weighted mean of all capitals.

    Source:
        Waudby-Smith and Ramdas 2024, J. R. Stat. Soc. B 86:1, sections 3 and 4 (capital processes,
        stakes that approximate growth-rate optimality, truncation); mixtures over stakes as in
        their appendix.
    """

    def __init__(
        self, values: ArrayLike, lower: float, upper: float, *, block: int, most: int
    ) -> None:
        """Takes the numbers seen so far.

        Args:
            values: Shape (n,), n at least 1, each within the bounds.
            lower: The smallest that a value can be.
            upper: The largest; more than `lower`.
            block: After how many values the stakes are set anew: no stake depends on what it is
                put on.
            most: How many values there may be in all.

        Raises:
            ValueError: No value, one that is not finite or out of bounds, or empty bounds.
        """
        self._values = _checks.vector("values", values)
        self._bounds = _checks.finite("lower", lower), _checks.finite("upper", upper)
        low, high = self._bounds
        if not low < high:
            raise ValueError(f"bounds: expected lower < upper, got {low:.6g} and {high:.6g}")
        if not self._values.size or self._values.min() < low or self._values.max() > high:
            raise ValueError(f"values: expected one or more in [{low:.6g}, {high:.6g}]")
        self._most = most
        n = self._values.size
        self._starts = starts = np.arange(0, n, block)
        # Before each block: the variance of what came before, and of half the range as one value.
        sums = np.concatenate([[0.0], np.cumsum(self._values)])[starts]
        squares = np.concatenate([[0.0], np.cumsum(self._values**2)])[starts]
        spread = squares - sums**2 / np.maximum(starts, 1)
        variance = (np.maximum(0.0, spread) + ((high - low) / 2.0) ** 2) / (starts + 1.0)
        self._variance = np.repeat(variance, np.diff(np.append(starts, n)))

    def evidence(self, null: float) -> Sided:
        """Returns the evidence that the mean lies above and below a null."""
        above, below = self.path(null)
        return Sided(float(above[-1]), float(below[-1]))

    def path(self, null: float) -> tuple[Floats, Floats]:
        """Returns the same evidence after each block, shape (blocks,) a side."""
        return self._capital(null, 1.0), self._capital(null, -1.0)

    def interval(self, level: float = 0.95) -> Interval:
        """Returns the interval that holds the mean at all looks at once, by inverting the bets."""
        needed = math.log(2.0 / (1.0 - _checks.level(level)))
        low, high = self._bounds
        mean = float(self._values.mean())

        def end(bound: float, sign: float) -> float:
            def beyond(null: float) -> float:
                return float(self._capital(null, sign)[-1]) - needed

            if mean == bound or beyond(bound) < 0.0:
                return bound
            # Where the sequence was lucky before, not even the mean itself is left in: the nearest.
            return mean if beyond(mean) > 0.0 else float(brentq(beyond, bound, mean, xtol=1e-9))

        return Interval(end(low, 1.0), end(high, -1.0), level, BETTING)

    def _capital(self, null: float, sign: float) -> Floats:
        """Returns log e-values that the mean is more (sign 1) or less (-1) than the null."""
        low, high = self._bounds
        room = null - low if sign > 0 else high - null
        if room < 0.0:
            return np.full(len(self._starts), math.inf)  # no value lies on the null's side
        distances = np.sqrt(10.0 * self._variance / self._most)[:, None] * 2.0**_STEPS
        wanted = distances / (self._variance[:, None] + distances**2)
        stakes = np.minimum(wanted, _MOST_STAKE / max(room, 1e-12))
        gained = np.log1p(stakes * (sign * (self._values - null))[:, None])
        capitals = np.cumsum(np.add.reduceat(gained, self._starts), axis=0)
        return np.asarray(logsumexp(capitals, b=_WEIGHTS, axis=1))


def asymptotic_evidence(
    estimate: float, error: float, n: int, null: float, *, most: int, level: float = 0.95
) -> Sided:
    """Return the evidence about anything with a standard error, once n is large.

    Robbins' normal mixture, whose width is least at about half of `most`; two-sided by itself.

    Args:
        estimate: The number.
        error: Its standard error, at least 0.
        n: Units that it is made of.
        null: The number under test.
        most: How many units there may be in all.
        level: What the mixture is made for.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Annals of Statistics 52:2613
        (asymptotic confidence sequences), equation 13 and section 2.5.
    """
    if n < FEWEST or not error > 0.0:
        return Sided(0.0, 0.0)
    rate = _mixture(most, level)
    gain = 1.0 + n * rate
    evidence = ((estimate - null) / error) ** 2 * n * rate / gain / 2.0 - math.log(gain) / 2.0
    # Its own two sides are one test: `Sided.p` doubles.
    evidence += math.log(2.0)
    return Sided(evidence, -math.inf) if estimate > null else Sided(-math.inf, evidence)


def asymptotic_interval(
    estimate: float, error: float, n: int, *, most: int, level: float = 0.95
) -> Interval | None:
    """Return the interval that `asymptotic_evidence` leaves in; None where it says nothing."""
    if n < FEWEST or not error > 0.0:
        return None
    rate = _mixture(most, level)
    gain = 1.0 + n * rate
    half = error * math.sqrt(
        2.0 * gain / (n * rate) * (math.log(gain) / 2.0 - math.log(1.0 - level))
    )
    return Interval(estimate - half, estimate + half, level, ASYMPTOTIC)


def _mixture(most: int, level: float) -> float:
    """Returns the variance of the mixture, for units of variance 1."""
    alpha = 1.0 - _checks.level(level)
    return (-2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha))) / max(1.0, most / 2.0)
