"""The verdict on one number: pure functions of a paired difference, or of a number and a floor.

Delta is candidate minus baseline, signed so that more is better (`MetricDifference.gain`), [L, U]
its two-sided 95 % interval and m the margin.

- *margin*: pass if L >= -m: the loss is shown to be less than the margin. No correction: the gate
  passes only if all required rules do. Regression if U < -m: the loss is shown to be more, with U
  adjusted by Holm over the required rules of one model. Otherwise inconclusive; where U < 0 the
  candidate is worse, but not shown to be so by more than the margin, and `treat_as` of the rule
  says what that counts as.
- *no worse* (m = 0): regression if U < 0, adjusted likewise; pass if not, and the smallest loss
  that n can show is at most `detect`; otherwise inconclusive.
- *floor*: pass if the candidate's lower bound >= floor, regression if its upper bound < floor.

Holm's procedure has no simple intervals, but it has adjusted p-values: "the adjusted U is below -m"
is written as "U < -m and the Holm-adjusted two-sided p-value of a loss of m is below 5 %", which
for one rule and a test that inverts its interval is the same statement. Where interval and p-value
come from two methods (Newcombe and exact McNemar) both have to say it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from scipy.special import ndtr

from crucibench.comparing.power import POWER, share_flipped, standard_error
from crucibench.comparing.results import MetricDifference
from crucibench.gating.result import Outcome
from crucibench.stats import (
    Interval,
    detectable_mean,
    detectable_paired_proportions,
    wilson,
)

ALPHA = 0.05
LEVEL = 1 - ALPHA


def decide_margin(difference: MetricDifference, margin: float, p_adjusted: float) -> Outcome:
    """Judges a loss against the margin that is tolerated.

    Args:
        difference: candidate against baseline.
        margin: above 0, in the metric's unit.
        p_adjusted: see the module; nan where there is no test.
    """
    gain, interval = difference.gain, difference.gain_interval
    if gain is None or interval is None:
        return Outcome.INCONCLUSIVE
    if interval[0] >= -margin:
        return Outcome.PASS
    if interval[1] < -margin and p_adjusted < ALPHA:
        return Outcome.REGRESSION
    return Outcome.INCONCLUSIVE


def is_worse(difference: MetricDifference) -> bool:
    """Whether there is a loss, by the interval and the p-value of this one difference."""
    gain, interval = difference.gain, difference.gain_interval
    return (
        gain is not None and interval is not None and _is_worse(interval, gain, p_value(difference))
    )


def decide_no_worse(
    difference: MetricDifference, detect: float, p_adjusted: float, power: float = POWER
) -> Outcome:
    """Judges whether there is a loss at all.

    Args:
        difference: candidate against baseline.
        detect: the loss that the samples must be able to show for a pass, in the metric's unit.
        p_adjusted: see the module; nan where there is no test.
        power: with which they must be able to.
    """
    gain, interval = difference.gain, difference.gain_interval
    if gain is None or interval is None:
        return Outcome.INCONCLUSIVE
    if _is_worse(interval, gain, p_adjusted):
        return Outcome.REGRESSION
    smallest = detectable(difference, power)
    return Outcome.PASS if smallest is not None and smallest <= detect else Outcome.INCONCLUSIVE


def decide_floor(lower: float | None, upper: float | None, direction: str, floor: float) -> Outcome:
    """Judges a number's own interval against the worst value allowed."""
    if lower is None or upper is None:
        return Outcome.INCONCLUSIVE
    if direction == "lower":
        lower, upper, floor = -upper, -lower, -floor
    if lower >= floor:
        return Outcome.PASS
    return Outcome.REGRESSION if upper < floor else Outcome.INCONCLUSIVE


def without_spread(difference: MetricDifference, *, share: bool) -> MetricDifference:
    """Gives a difference that no sample shows the interval that its n allows.

    Resampling answers that are alike on every sample shows no spread and gives no interval, but n
    samples alike leave room for a share of samples that differ: its upper Wilson bound is as far
    as a metric that runs from 0 to 1 can be taken to move. Other differences are left as they are.
    """
    if not (share and difference.identical and difference.interval is None and difference.n > 0):
        return difference
    room = wilson(0, difference.n, LEVEL).upper
    interval = Interval(-room, room, LEVEL, "wilson bound of samples that differ")
    return replace(difference, interval=interval, method=interval.method)


def p_beyond(difference: MetricDifference, margin: float) -> float:
    """Returns the two-sided p-value of a loss of `margin`, or nan; 1 of a smaller loss."""
    error, gain = standard_error(difference), difference.gain
    if difference.spread is not None and gain is not None:
        # By t, since few trainings show their spread badly.
        return difference.spread.sources.p(gain + margin) if gain < -margin else 1.0
    if gain is None or error is None:
        return math.nan
    return min(1.0, 2.0 * float(ndtr((gain + margin) / error)))


def p_value(difference: MetricDifference) -> float:
    """Returns the two-sided p-value of no difference: its own, or the normal one, or nan."""
    if difference.p is not None:
        return difference.p
    error = standard_error(difference)
    if difference.delta is None or error is None:
        return math.nan
    return 2.0 * float(ndtr(-abs(difference.delta) / error))


def detectable(difference: MetricDifference, power: float = POWER) -> float | None:
    """Returns the smallest loss that this n shows at 5 %, two-sided, with so much power."""
    if difference.detectable is not None and power == POWER:
        return difference.detectable
    if difference.spread is not None:
        return difference.spread.sources.detectable(power, LEVEL)
    if difference.flips is not None:
        # None says that not even all discordant pairs would show it.
        n = difference.n
        return (
            None
            if n < 1
            else detectable_paired_proportions(n, share_flipped(difference), power=power)
        )
    error = standard_error(difference)
    return None if error is None else detectable_mean(1, error, power=power)


def n_needed_for_floor(
    value: float, lower: float | None, upper: float | None, n: int, floor: float
) -> int | None:
    """Returns the samples with which the interval would leave the floor out."""
    gap = abs(value - floor)
    if lower is None or upper is None or gap == 0 or n < 1:
        return None
    half = (value - lower) if value > floor else (upper - value)
    return math.ceil(n * (half / gap) ** 2)


def _is_worse(interval: tuple[float, float], gain: float, p_adjusted: float) -> bool:
    return gain < 0 and interval[1] < 0 and p_adjusted < ALPHA
