"""A sheet of rows over two sets of samples, home and here, drawn apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.stats import (
    BootstrapResult,
    Interval,
    SumStatistic,
    WeightedStatistic,
    difference,
    intervals_for,
    weighted_ratio,
)
from crucibench_suites.shift.answers import Floats, Ints, cluster_codes


class TwoPlaces:
    """Rows that read both sets; resampling keeps their sizes, the sets being strata.

    Where either set names clusters these are drawn whole, and no closed form is used.
    """

    def __init__(
        self, home: Samples, here: Samples, *, options: ScoringOptions, stream: str
    ) -> None:
        self._sizes = (len(home), len(here))
        self._options = options
        self._stream = stream
        self._clusters = _clusters(home, here)
        self._rows: dict[str, Row] = {}
        self._waiting: dict[str, tuple[MetricInfo, float, WeightedStatistic]] = {}

    @property
    def n(self) -> int:
        """The samples of both."""
        return sum(self._sizes)

    def without(self, metric: MetricInfo, reason: str) -> None:
        """Puts down that a number is undefined, and why."""
        self._rows[metric.id] = Row(metric=metric.id, value=None, n=self.n, reason=reason)

    def closed(
        self,
        metric: MetricInfo,
        value: float,
        interval: Callable[[float], Interval],
        statistic: WeightedStatistic,
    ) -> None:
        """Puts down a number with an interval from a level, if samples are independent."""
        if self._clusters is not None:
            self.resampled(metric, statistic)
            return
        self._rows[metric.id] = _row(metric, value, self.n, interval(self._options.level))

    def resampled(self, metric: MetricInfo, statistic: WeightedStatistic) -> None:
        """Puts down a function of the weights of home's samples, then of those here."""
        value = float(statistic(np.ones((1, self.n)))[0])
        if not np.isfinite(value):
            self.without(metric, "not defined for these samples")
            return
        self._waiting[metric.id] = (metric, value, statistic)
        self._rows[metric.id] = Row(metric=metric.id, value=None, n=0, reason="not yet drawn")

    def rows(self) -> list[Row]:
        """Returns the rows in the order in which they were put down."""
        if self._waiting:
            results = intervals_for(
                {name: statistic for name, (_, _, statistic) in self._waiting.items()},
                self.n,
                level=self._options.level,
                replicates=self._options.replicates,
                seed=self._options.seed,
                stream=self._stream,
                clusters=self._clusters,
                strata=np.repeat([0, 1], self._sizes),
                bounds={
                    name: (metric.lower, metric.upper)
                    for name, (metric, _, _) in self._waiting.items()
                },
            )
            for name, (metric, value, _) in self._waiting.items():
                self._rows[name] = _resampled(metric, value, self.n, results[name])
            self._waiting = {}
        return list(self._rows.values())


def mean_here_minus_home(home: Floats, here: Floats, sign: float = 1.0) -> SumStatistic:
    """Returns the difference of two means as a statistic of both sets' weights."""
    numbers = sign * np.concatenate([home, here])
    of_home = np.repeat([1.0, 0.0], [len(home), len(here)])
    gap = difference(
        weighted_ratio(numbers * (1 - of_home), 1 - of_home),
        weighted_ratio(numbers * of_home, of_home),
    )
    if not isinstance(gap, SumStatistic):
        raise TypeError(f"gap: expected a SumStatistic, got {type(gap).__name__}")
    return gap


def _clusters(home: Samples, here: Samples) -> Ints | None:
    """Returns codes over both; a cluster in both counts as two, and a sample without one as one."""
    if home.clusters is None and here.clusters is None:
        return None
    codes, first = [], 0
    for samples in (home, here):
        known = cluster_codes(samples.clusters)
        own = np.arange(len(samples), dtype=np.int64) if known is None else known
        codes.append(own + first)
        first += int(own.max(initial=-1)) + 1
    return np.concatenate(codes)


def _resampled(metric: MetricInfo, value: float, n: int, result: BootstrapResult) -> Row:
    if result.interval is None:
        return Row(
            metric=metric.id, value=value, n=n, method=result.method,
            reason=result.reason or "resampling gave no interval",
        )  # fmt: skip
    return _row(metric, value, n, result.interval)


def _row(metric: MetricInfo, value: float, n: int, interval: Interval) -> Row:
    """Returns a row whose interval keeps to the metric's bounds and holds its value."""
    return Row(
        metric=metric.id, value=value, n=n,
        lower=min(max(interval.lower, metric.lower), value),
        upper=max(min(interval.upper, metric.upper), value),
        level=interval.level, method=interval.method,
    )  # fmt: skip
