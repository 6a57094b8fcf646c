"""Whether a model has become slower: statistics of paired rounds, on one machine, in one session.

Timings of two days or two runners can't be compared to a few per cent. So both models are timed
here and now, in turns (`schedule`), in at least six rounds; a round is one number, e.g. the median
latency of a fresh process. First the baseline is timed against itself: what that shows is the
machine's resolution, and below it nothing is claimed. A slowdown counts from a practical effect of
5 % up, and only a second, independent measurement that says the same makes it a regression: most
false alarms of fixed thresholds on shared runners do not survive one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, stdtrit

from crucibench.gating.result import Outcome

MIN_ROUNDS = 6
"""Fewer can't be told apart at 5 % by any exact test of two sets of rounds."""

ROUNDS = 20
"""Enough for a machine that jitters by 1 % and stalls now and then."""

EFFECT = 0.05
"""The slowdown that matters in practice, as a share of the baseline's time."""

_REPLICATES = 2000


@dataclass(frozen=True)
class Rounds:
    """Times of two models, measured in turns.

    Attributes:
        first: the baseline's time in each round, shape (rounds,), above 0.
        second: the other's, measured next to it.

    Raises:
        ValueError: if there are fewer than six rounds, or times that are none.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.first.shape != self.second.shape or self.first.ndim != 1:
            raise ValueError(
                "rounds: expected two vectors of one length, got shapes "
                f"{self.first.shape} and {self.second.shape}"
            )
        if self.first.size < MIN_ROUNDS:
            raise ValueError(f"rounds: expected at least {MIN_ROUNDS}, got {self.first.size}")
        for times in (self.first, self.second):
            if not (np.isfinite(times).all() and (times > 0).all()):
                raise ValueError("rounds: expected finite times above 0")

    @classmethod
    def of(cls, first: ArrayLike, second: ArrayLike) -> Rounds:
        """Makes rounds of two lists of times."""
        return cls(np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64))

    @property
    def log_ratios(self) -> NDArray[np.float64]:
        """The log of second over first in each round: drift that both share cancels."""
        return np.log(self.second / self.first)


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How much slower the second is: above 1 is slower.

    Attributes:
        value: its centre over rounds.
        lower: of its two-sided interval.
        upper: likewise.
        rounds: how many.
    """

    value: float
    lower: float
    upper: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class LatencyVerdict:
    """What timings say.

    Attributes:
        outcome: ``pass``, ``regression`` or ``inconclusive``.
        ratio: candidate over baseline.
        resolution: the smallest slowdown that the machine tells from none, as a share.
        confirmation: the second measurement, where there was one.
        message: one sentence with the numbers.
    """

    outcome: Outcome
    ratio: Ratio
    resolution: float
    confirmation: Ratio | None = None
    message: str


def schedule(rounds: int) -> list[tuple[str, str]]:
    """Returns who is timed first in each round: A B, B A, A B, ... so that neither is favoured."""
    if rounds < MIN_ROUNDS:
        raise ValueError(f"rounds: expected at least {MIN_ROUNDS}, got {rounds}")
    return [("A", "B") if position % 2 == 0 else ("B", "A") for position in range(rounds)]


def ratio_of(rounds: Rounds, *, level: float = 0.95, seed: int = 0) -> Ratio:
    """Returns the ratio of times with its bootstrap interval over rounds.

    A round is the unit: iterations within one share a process, a clock and a temperature, and
    their number proves nothing. The ratios' centre is the median of their pairwise means (Hodges
    and Lehmann 1963), which a round in which the machine stalled moves little. The percentile
    interval is expanded for so few units, so that it is as wide as Student's (Hesterberg 2015, The
    American Statistician 69:371).
    """
    values = rounds.log_ratios
    n = values.size
    draws = np.random.default_rng(seed).integers(0, n, (_REPLICATES, n))
    centres = _centre(values[draws])
    quantile = float(stdtrit(n - 1, (1 + level) / 2)) * math.sqrt(n / (n - 1))
    tail = float(ndtr(-quantile))
    lower, upper = np.exp(np.quantile(centres, [tail, 1 - tail]))
    value = math.exp(float(_centre(values[None, :])[0]))
    return Ratio(value=value, lower=float(lower), upper=float(upper), rounds=n)


def _centre(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the median of pairwise means of each row."""
    first, second = np.triu_indices(values.shape[1])
    return np.asarray(np.median((values[:, first] + values[:, second]) / 2, axis=1))


def resolution_of(floor: Rounds, *, level: float = 0.95, seed: int = 0) -> float:
    """Returns the slowdown that the baseline against itself can't rule out, as a share."""
    found = ratio_of(floor, level=level, seed=seed)
    return max(found.upper, 1 / found.lower) - 1


def judge_latency(
    floor: Rounds,
    measured: Rounds,
    again: Callable[[], Rounds],
    *,
    effect: float = EFFECT,
    tests: int = 1,
    seed: int = 0,
) -> LatencyVerdict:
    """Judges whether the candidate is slower.

    Args:
        floor: the baseline timed against itself.
        measured: baseline and candidate.
        again: measures the latter once more; called only where a regression is suspected.
        effect: the slowdown that matters, as a share above 0.
        tests: how many latencies are judged together; intervals are widened for them (Bonferroni).
        seed: of the bootstrap.

    Returns:
        Pass if the interval's upper end is at most 1 + effect; regression if the ratio is at least
        that, its interval leaves 1 out, and a second measurement says both too; inconclusive
        otherwise, and wherever the machine's resolution is not below `effect`.
    """
    if not effect > 0:
        raise ValueError(f"effect: expected a share above 0, got {effect}")
    level = 1 - 0.05 / max(tests, 1)
    resolution = resolution_of(floor, level=level, seed=seed)
    ratio = ratio_of(measured, level=level, seed=seed)

    def verdict(outcome: Outcome, why: str, second: Ratio | None = None) -> LatencyVerdict:
        message = f"{_words(ratio)} in {ratio.rounds} rounds: {why}"
        return LatencyVerdict(
            outcome=outcome, ratio=ratio, resolution=resolution, confirmation=second,
            message=message,
        )  # fmt: skip

    if resolution >= effect:
        return verdict(
            Outcome.INCONCLUSIVE,
            f"this machine tells slowdowns from {resolution:.1%} up, and {effect:.1%} matters; "
            "take more rounds, or a quieter machine",
        )
    if ratio.upper <= 1 + effect:
        return verdict(Outcome.PASS, f"not slower by {effect:.1%}")
    if not _is_slower(ratio, effect):
        return verdict(Outcome.INCONCLUSIVE, f"can't be told from a slowdown of {effect:.1%}")
    second = ratio_of(again(), level=level, seed=seed + 1)
    if _is_slower(second, effect):
        return verdict(
            Outcome.REGRESSION, f"slower, and confirmed by a second run: {_words(second)}", second
        )
    return verdict(
        Outcome.INCONCLUSIVE, f"a second run does not confirm it: {_words(second)}", second
    )


def _is_slower(ratio: Ratio, effect: float) -> bool:
    return ratio.value >= 1 + effect and ratio.lower > 1


def _words(ratio: Ratio) -> str:
    return f"{ratio.value:.3f} times the baseline's time [{ratio.lower:.3f}, {ratio.upper:.3f}]"
