"""One metric row: a value within its bounds, its interval around it, or the reason for none."""

from __future__ import annotations

from dataclasses import dataclass

from crucibench.contracts.rows import Row
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.statistic import Value
from crucibench.stats import BootstrapResult, Interval

_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Number:
    """A value on its way to a row.

    Attributes:
        metric: its id.
        value: what it is, with its denominator.
        group: the class it is of, or "".
        suffix: what the method of its interval should say beyond.
    """

    metric: str
    value: Value
    group: str = ""
    suffix: str = ""


def undefined(number: Number) -> Row:
    """Returns the row of a number that has no value."""
    value = number.value
    return Row(metric=number.metric, value=None, n=value.n, reason=value.reason, group=number.group)


def with_interval(number: Number, interval: Interval) -> Row:
    """Returns the row of a number and its interval.

    Resampling shifts a biased number (a binned error, say) away from its value. Where the interval
    misses the value it is extended to it, which can only add coverage, and the method says so.
    """
    info = metric_info(number.metric)
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
        return with_interval(number, result.interval)
    return Row(
        metric=number.metric,
        value=_bounded(number),
        n=number.value.n,
        method=_method(result.method, number.suffix, number.value.note),
        reason=result.reason or "resampling gave no interval",
        group=number.group,
    )


def _method(*parts: str) -> str:
    return "; ".join(part for part in parts if part)


def _bounded(number: Number) -> float:
    """Returns the value without rounding errors beyond the ends of the metric's range."""
    if number.value.value is None:
        raise ValueError(f"{number.metric}: expected a value, got none: {number.value.reason}")
    info = metric_info(number.metric)
    value = number.value.value
    inside = min(max(value, info.lower), info.upper)
    return inside if abs(inside - value) <= _ROUNDING else value
