"""Ways of doing the same thing, timed in short turns A B B A, and what their ratios say.

What disturbs a machine lasts longer than a turn and hits neighbours alike: so ratios are taken turn
by turn, their median stands for them, and its interval is between order statistics, whatever the
noise looks like.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from crucibench.stats import quantile_rank, quantile_ranks

Ask = Callable[[object], object]
Loop = Callable[[Ask, int], float]
"""Asks so often, and returns seconds a query."""

TURN = 0.02
"""Seconds that a way's turn takes, about."""


class Median(NamedTuple):
    """A median with the interval of 99 % between order statistics."""

    value: float
    lower: float
    upper: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Median:
        """Returns that of at least 8 values: fewer have no such interval."""
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        below, above = quantile_ranks(len(ordered), 0.5, 0.99)
        if below < 0 or above >= len(ordered):
            raise ValueError(f"values: expected at least 8, got {len(ordered)}")
        middle = ordered[quantile_rank(len(ordered), 0.5)]
        return cls(float(middle), float(ordered[below]), float(ordered[above]))

    def told(self, form: str) -> str:
        """Returns it as text."""
        return f"{self.value:{form}} [{self.lower:{form}}, {self.upper:{form}}]"

    def at_least(self, budget: float) -> str:
        """Returns whether a budget is kept from above, where the interval allows to say so."""
        return _verdict(kept=self.lower >= budget, missed=self.upper < budget)

    def at_most(self, budget: float) -> str:
        """Returns whether a budget is kept from below, where the interval allows to say so."""
        return _verdict(kept=self.upper <= budget, missed=self.lower > budget)


def _verdict(*, kept: bool, missed: bool) -> str:
    return "kept" if kept else "missed" if missed else "undecided"


def in_turns(ways: Mapping[str, Callable[[], float]], seconds: float) -> dict[str, list[float]]:
    """Calls all ways in turn, forwards and backwards, until the time is over; at least 8 times."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    order, end = list(ways), time.perf_counter() + seconds
    for way in ways.values():
        way()
    while time.perf_counter() < end or len(found[order[0]]) < 8:
        for name in order:
            found[name].append(ways[name]())
        order.reverse()
    return found


def queries_a_turn(loop: Loop, ask: Ask, least: int = 1) -> int:
    """Returns how often a loop asks in a turn."""
    count = least
    loop(ask, count)  # what a first call prepares is no part of it
    while (taken := loop(ask, count) * count) < TURN / 4:
        count *= 2
    return max(least, math.ceil(count * TURN / taken))


def ratios(above: Sequence[float], below: Sequence[float]) -> Median:
    """Returns the median of the ratios, turn by turn."""
    return Median.of([a / b for a, b in zip(above, below, strict=True)])


def differences(first: Sequence[float], second: Sequence[float]) -> Median:
    """Returns the median of `first` less `second`, turn by turn."""
    return Median.of([a - b for a, b in zip(first, second, strict=True)])
