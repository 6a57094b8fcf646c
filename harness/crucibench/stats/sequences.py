"""Evidence that holds at any time: a mean against a null, looked at as often as one likes.

The evidence of a side is an e-value: under the null its expectation is at most 1 at whatever look
one stops, so that the chance that it ever reaches 1 / p is at most p (Ville 1939). Samples come in
an order that has nothing to do with their outcomes.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from crucibench.contracts.statistic import Interval
from crucibench.stats import _checks
from crucibench.stats.roots import root

Floats = NDArray[np.float64]

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

    method: ClassVar[str] = "betting sequence"

    def __init__(
        self, values: ArrayLike, lower: float, upper: float, *, block: int, most: int,
        level: float = 0.95,
    ) -> None:  # fmt: skip
        """Takes the numbers seen so far.

        Args:
            values: Shape (n,), n at least 1, each within the bounds.
            lower: The smallest that a value can be.
            upper: The largest; more than `lower`.
            block: After how many values the stakes are set anew: no stake depends on what it is
                put on.
            most: How many values there may be in all.
            level: Of the interval.

        Raises:
            ValueError: No value, one that is not finite or out of bounds, or empty bounds.
        """
        self._values = _checks.vector("values", values)
        self._bounds = low, high = _checks.finite("lower", lower), _checks.finite("upper", upper)
        if not low < high:
            raise ValueError(f"bounds: expected lower < upper, got {low:.6g} and {high:.6g}")
        if not self._values.size or self._values.min() < low or self._values.max() > high:
            raise ValueError(f"values: expected one or more in [{low:.6g}, {high:.6g}]")
        self._most, self._level = most, _checks.level(level)
        n = self._values.size
        self._starts = starts = np.arange(0, n, block)
        # Before each block: the variance of what came before, and of half the range as one value.
        sums = np.concatenate([[0.0], np.cumsum(self._values)])[starts]
        squares = np.concatenate([[0.0], np.cumsum(self._values**2)])[starts]
        spread = squares - sums**2 / np.maximum(starts, 1)
        variance = (np.maximum(0.0, spread) + ((high - low) / 2.0) ** 2) / (starts + 1.0)
        self._variance = np.repeat(variance, np.diff(np.append(starts, n)))

    def evidence(self, null: float) -> Sided:
        """Returns the most evidence, of all blocks, that the mean lies above and below a null."""
        return Sided(self._capital(null, 1.0), self._capital(null, -1.0))

    def interval(self) -> Interval:
        """Returns the interval that holds the mean at all looks at once, by inverting the bets."""
        needed = math.log(2.0 / (1.0 - self._level))
        low, high = self._bounds
        mean = float(self._values.mean())

        def end(bound: float, sign: float) -> float:
            def beyond(null: float) -> float:
                return self._capital(null, sign) - needed

            if mean == bound or beyond(bound) < 0.0:
                return bound
            # Where the sequence was lucky before, not even the mean itself is left in: the nearest.
            return mean if beyond(mean) > 0.0 else root(beyond, bound, mean, tolerance=1e-9)

        return Interval(end(low, 1.0), end(high, -1.0), self._level, self.method)

    def _capital(self, null: float, sign: float) -> float:
        """Returns the log e-value that the mean is more (sign 1) or less (-1) than the null."""
        low, high = self._bounds
        room = null - low if sign > 0 else high - null
        if room < 0.0:
            return math.inf  # no value lies on the null's side
        distances = np.sqrt(10.0 * self._variance / self._most)[:, None] * 2.0**_STEPS
        wanted = distances / (self._variance[:, None] + distances**2)
        stakes = np.minimum(wanted, _MOST_STAKE / max(room, 1e-12))
        gained = np.log1p(stakes * (sign * (self._values - null))[:, None])
        capitals = np.cumsum(np.add.reduceat(gained, self._starts), axis=0)
        return float(logsumexp(capitals, b=_WEIGHTS, axis=1).max())


class Mixture:
    """Anything with a standard error, once n is large: Robbins' normal mixture.

    Its width is least at about half of all units.

    Source:
        Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Annals of Statistics 52:2613
        (asymptotic confidence sequences), equation 13 and section 2.5.
    """

    method: ClassVar[str] = "asymptotic sequence"

    def __init__(
        self, estimate: float, error: float, n: int, *, most: int, level: float = 0.95
    ) -> None:
        """Takes what was seen so far.

        Args:
            estimate: The number.
            error: Its standard error, at least 0.
            n: Units that it is made of; of fewer than 100 the mixture says nothing.
            most: How many there may be in all.
            level: What the mixture is made for.
        """
        alpha = 1.0 - _checks.level(level)
        # The mixture's variance times n, of units of variance 1.
        rate = -2.0 * math.log(alpha) + math.log(1.0 - 2.0 * math.log(alpha))
        self._spread = n * rate / max(1.0, most / 2.0)
        self._estimate, self._error, self._level = estimate, error, level
        self._silent = n < FEWEST or not error > 0.0

    def evidence(self, null: float) -> Sided:
        """Returns the evidence that the number lies above and below a null."""
        if self._silent:
            return Sided(0.0, 0.0)
        gain = 1.0 + self._spread
        z = (self._estimate - null) / self._error
        # Both sides are one test here, and `Sided.p` doubles.
        found = math.log(2.0) + z**2 * self._spread / gain / 2.0 - math.log(gain) / 2.0
        return Sided(found, -math.inf) if z > 0.0 else Sided(-math.inf, found)

    def interval(self) -> Interval | None:
        """Returns the interval that the evidence leaves open; None where it says nothing."""
        if self._silent:
            return None
        gain = 1.0 + self._spread
        needed = math.log(gain) / 2.0 - math.log(1.0 - self._level)
        half = self._error * math.sqrt(2.0 * gain / self._spread * needed)
        return Interval(self._estimate - half, self._estimate + half, self._level, self.method)
