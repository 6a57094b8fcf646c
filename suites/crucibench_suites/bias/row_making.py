"""One metric row: a value within its bounds, its interval around it, or the reason for none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Value
from crucibench.metrics.catalogue import CATALOGUE
from crucibench.stats import BootstrapResult, Interval
from crucibench.util.errors import InputError

_ROUNDING = 1e-9

Bias = Literal["none", "up", "corrected"]
"""What resampling does to a number: nothing; it shifts it up, as a binned error, which grows with
noise; or it is corrected for that shift once, but not for the shift of the replicates."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A value on its way to a row.

    Attributes:
        metric: its id.
        value: what it is, with its denominator.
        group: the class it is of, or "".
        suffix: what the method of its interval should say beyond.
        bias: of its bootstrap replicates.
    """

    metric: str
    value: Value
    group: str = ""
    suffix: str = ""
    bias: Bias = "none"


def undefined(number: Number) -> Row:
    """Returns the row of a number that has no value."""
    value = number.value
    return Row(metric=number.metric, value=None, n=value.n, reason=value.reason, group=number.group)


def with_interval(number: Number, interval: Interval) -> Row:
    """Returns the row of a number and its interval, extended to the value where it misses it."""
    info = _info(number)
    value = _bounded(number)
    lower = min(max(interval.lower, info.lower), info.upper)
    upper = min(max(interval.upper, info.lower), info.upper)
    missed = not lower - _ROUNDING <= value <= upper + _ROUNDING
    extended = "extended to the value" if missed else ""
    return Row(
        metric=number.metric,
        value=value,
        n=number.value.n,
        lower=min(lower, value),
        upper=max(upper, value),
        level=interval.level,
        method=_method(interval.method, extended, number.suffix, number.value.note),
        group=number.group,
    )


def with_result(number: Number, result: BootstrapResult) -> Row:
    """Returns the row of a number and what resampling says of it."""
    if result.interval is not None:
        return with_interval(number, _unbiased(number, result.interval))
    return Row(
        metric=number.metric,
        value=_bounded(number),
        n=number.value.n,
        method=_method(result.method, number.suffix, number.value.note),
        reason=result.reason or "resampling gave no interval",
        group=number.group,
    )


def _unbiased(number: Number, interval: Interval) -> Interval:
    """Turns the percentile interval of a biased number about its value.

    Noise adds to a binned error, and resampling adds noise to noise: replicates of a calibrated
    model's ECE may all lie above its value, and so would a percentile interval. The basic bootstrap
    (Davison and Hinkley 1997, section 5.2.1) takes the shift of the replicates for that of the
    value and turns it back. A number that is corrected already keeps the wider of both ends.
    """
    if number.bias == "none" or "percentile" not in interval.method:
        return interval
    value = number.value.value or 0.0
    lower, upper = 2 * value - interval.upper, 2 * value - interval.lower
    if number.bias == "up":
        return Interval(
            lower, upper, interval.level, interval.method.replace("percentile", "basic")
        )
    return Interval(
        min(lower, interval.lower),
        max(upper, interval.upper),
        interval.level,
        interval.method.replace("percentile", "basic-and-percentile"),
    )


def _method(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _bounded(number: Number) -> float:
    """Returns the value without rounding errors beyond the ends of the metric's range."""
    if number.value.value is None:
        raise ValueError(f"{number.metric}: expected a value, got none: {number.value.reason}")
    info = _info(number)
    value = number.value.value
    inside = min(max(value, info.lower), info.upper)
    return inside if abs(inside - value) <= _ROUNDING else value


def _info(number: Number) -> MetricInfo:
    """Returns what a number's metric is; what is in no list has no bounds and no meaning."""
    if number.metric not in CATALOGUE:
        raise InputError(
            f"metric {number.metric!r} is computed and in no list: add it to the catalogue "
            "(crucibench/metrics) and to the metrics of the scenario"
        )
    return CATALOGUE[number.metric]
