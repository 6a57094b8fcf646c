"""A sheet of metric rows over the same samples, at several points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.stats import (
    BootstrapResult,
    Interval,
    IntervalKind,
    WeightedStatistic,
    difference,
    intervals_for,
    newcombe_paired,
    weighted_mean,
    wilson,
)
from crucibench_suites.shift.answers import Bools, Floats, Ints


@dataclass(frozen=True)
class _Waiting:
    """A number whose interval is resampled when the sheet is read."""

    slot: int
    metric: MetricInfo
    point: str
    value: float
    statistic: WeightedStatistic
    biased: bool
    note: str


class Sheet:
    """Rows over the same samples; those that are resampled share one set of draws.

    Where the data names clusters no closed form is used, since all take samples for independent.
    """

    def __init__(
        self, n: int, *, options: ScoringOptions, stream: str, clusters: Ints | None = None
    ) -> None:
        self._n = n
        self._options = options
        self._stream = stream
        self._clusters = clusters
        self._slots: list[Row | None] = []
        self._waiting: list[_Waiting] = []

    def without(self, metric: MetricInfo, reason: str, point: str = "") -> None:
        """Puts down that a number is undefined, and why."""
        row = Row(metric=metric.id, value=None, n=self._n, reason=reason, point=point)
        self._slots.append(row)

    def exact(self, metric: MetricInfo, value: float, why: str) -> None:
        """Puts down a number that no sampling moves, and why."""
        self._slots.append(Row(metric=metric.id, value=value, n=self._n, reason=why))

    def share(self, metric: MetricInfo, hits: Bools, point: str = "") -> None:
        """Puts down a proportion of all samples."""
        count = int(hits.sum())
        self._closed(
            metric, point, count / self._n,
            lambda: wilson(count, self._n, self._options.level),
            lambda: weighted_mean(hits),
        )  # fmt: skip

    def less(self, metric: MetricInfo, first: Bools, second: Bools, point: str = "") -> None:
        """Puts down one proportion less another of the same samples."""
        both = int((first & second).sum())
        only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
        neither = self._n - both - only_first - only_second
        self._closed(
            metric, point, (only_first - only_second) / self._n,
            lambda: newcombe_paired(both, only_first, only_second, neither, self._options.level),
            lambda: difference(weighted_mean(first), weighted_mean(second)),
        )  # fmt: skip

    def mean(self, metric: MetricInfo, values: Floats, point: str = "") -> None:
        """Puts down a mean over samples."""
        self.resampled(metric, weighted_mean(values), point)

    def resampled(
        self,
        metric: MetricInfo,
        statistic: WeightedStatistic,
        point: str = "",
        *,
        biased: bool = False,
        note: str = "",
        undefined: str = "not defined for these samples",
    ) -> None:
        """Puts down a number whose interval comes from resampling.

        Args:
            metric: which.
            statistic: the number as a function of weights.
            point: where.
            biased: whether resampling shifts it up, as it does a binned error: then its interval is
                the basic bootstrap's (Davison and Hinkley 1997, section 5.2.1).
            note: what its method should say beyond.
            undefined: the reason where it has no value.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value = float(statistic(np.ones((1, self._n)))[0])
        if not np.isfinite(value):
            self.without(metric, undefined, point)
            return
        waiting = _Waiting(len(self._slots), metric, point, value, statistic, biased, note)
        self._waiting.append(waiting)
        self._slots.append(None)

    def rows(self) -> list[Row]:
        """Returns the rows in the order in which they were put down."""
        for biased in (False, True):
            waiting = [entry for entry in self._waiting if entry.biased is biased]
            if not waiting:
                continue
            kind: IntervalKind = "percentile" if biased else "auto"
            results = intervals_for(
                {str(entry.slot): entry.statistic for entry in waiting},
                self._n,
                level=self._options.level,
                replicates=self._options.replicates,
                seed=self._options.seed,
                stream=self._stream,
                clusters=self._clusters,
                kind=kind,
                bounds={str(e.slot): (e.metric.lower, e.metric.upper) for e in waiting},
            )
            for entry in waiting:
                self._slots[entry.slot] = _resampled_row(entry, self._n, results[str(entry.slot)])
        self._waiting = []
        return [row for row in self._slots if row is not None]

    def _closed(
        self,
        metric: MetricInfo,
        point: str,
        value: float,
        interval: Callable[[], Interval],
        statistic: Callable[[], WeightedStatistic],
    ) -> None:
        if self._clusters is None:
            self._slots.append(_row(metric, value, self._n, interval(), point=point))
        else:
            self.resampled(metric, statistic(), point)


def _resampled_row(entry: _Waiting, n: int, result: BootstrapResult) -> Row:
    interval = result.interval
    if interval is None:
        return Row(
            metric=entry.metric.id, value=entry.value, n=n, method=result.method,
            reason=result.reason or "resampling gave no interval", point=entry.point,
        )  # fmt: skip
    if entry.biased and "percentile" in interval.method:
        interval = Interval(
            2 * entry.value - interval.upper,
            2 * entry.value - interval.lower,
            interval.level,
            interval.method.replace("percentile", "basic"),
        )
    return _row(entry.metric, entry.value, n, interval, point=entry.point, note=entry.note)


def _row(
    metric: MetricInfo, value: float, n: int, interval: Interval, *, point: str, note: str = ""
) -> Row:
    """Returns a row whose interval keeps to the metric's bounds and holds its value."""
    lower = min(max(interval.lower, metric.lower), value)
    upper = max(min(interval.upper, metric.upper), value)
    method = interval.method + (f"; {note}" if note else "")
    return Row(
        metric=metric.id, value=value, n=n, lower=lower, upper=upper, level=interval.level,
        method=method, point=point,
    )  # fmt: skip
