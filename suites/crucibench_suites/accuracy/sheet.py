"""A sheet of metric rows: joins each value with its interval, or with the reason for none.

Numbers are put down one by one, in the order of the report. Those that are resampled wait until
`Sheet.rows`, so that one set of draws serves them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.rows import Row
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.statistic import Statistic, Value
from crucibench.metrics.table import TableStatistic, on_rows
from crucibench.stats import (
    BootstrapResult,
    Interval,
    IntervalKind,
    WeightedStatistic,
    block_jackknife_many,
    bootstrap_many,
    count_table_many,
    wilson,
)
from crucibench_suites.accuracy.answers import Bools, Floats, Ints

BOOTSTRAP_UP_TO = 100_000
"""Largest n x cost that is bootstrapped; beyond it, groups of samples are left out instead."""

_GROUP_WORK = 10**8
_FEWEST_GROUPS, _MOST_GROUPS = 20, 200
_ROUNDING = 1e-9


@dataclass(frozen=True)
class _Resampled:
    slot: int
    metric: str
    group: str
    value: Value
    statistic: WeightedStatistic
    kind: IntervalKind
    suffix: str


class _Table(NamedTuple):
    slot: int
    metric: str
    value: Value
    statistic: TableStatistic


class Sheet:
    """Rows of one sample of cases."""

    def __init__(
        self,
        n: int,
        *,
        options: ScoringOptions,
        stream: str,
        clusters: Ints | None = None,
        strata: Ints | None = None,
    ) -> None:
        """Opens an empty sheet.

        Args:
            n: the number of samples, at least 1.
            options: seed, level and replicates.
            stream: names the draws.
            clusters: (n,) codes of samples drawn together: then no closed form is used, since all
                of them take samples for independent.
            strata: (n,) codes within which is drawn.
        """
        self._n = n
        self._options = options
        self._stream = stream
        self._clusters = clusters
        self._strata = strata
        self._slots: list[Row | None] = []
        self._waiting: list[_Resampled] = []
        self._tables: list[_Table] = []
        self._counts: NDArray[np.int64] | None = None

    def without(self, metric: str, reason: str, *, n: int | None = None, group: str = "") -> None:
        """Puts down that a number is undefined, and why."""
        n = self._n if n is None else n
        self._slots.append(Row(metric=metric, value=None, n=n, reason=reason, group=group))

    def put(
        self, metric: str, value: Value, interval: Interval, *, group: str = "", suffix: str = ""
    ) -> None:
        """Puts down a number whose interval is known."""
        self._slots.append(_row(metric, group, value, interval, "", suffix))

    def closed(
        self,
        metric: str,
        value: Value,
        interval: Callable[[], Interval],
        statistic: Callable[[], WeightedStatistic],
        *,
        group: str = "",
    ) -> None:
        """Puts down a number with a closed-form interval; `statistic` serves where it can't."""
        if value.value is None:
            self.without(metric, value.reason, n=value.n, group=group)
        elif self._clusters is None and self._strata is None:
            self.put(metric, value, interval(), group=group)
        else:
            self._resample(metric, value, statistic(), group=group)

    def share(
        self, metric: str, hits: Bools, among: Ints | None, *, undefined: str, group: str = ""
    ) -> None:
        """Puts down a proportion.

        Args:
            metric: its id.
            hits: whether each sample counts as a success, shape (n,).
            among: the samples in the denominator; None for all.
            undefined: the reason where there are none.
            group: the class.
        """
        counted = hits if among is None else hits[among]
        successes, trials = int(counted.sum()), len(counted)
        value = (
            Value(value=successes / trials, n=trials)
            if trials
            else Value(value=None, n=0, reason=undefined)
        )
        self.closed(
            metric,
            value,
            lambda: wilson(successes, trials, self._options.level),
            lambda: share_among(counted, among),
            group=group,
        )

    def table(
        self, metric: str, statistic: TableStatistic, counts: Ints, truth: Ints, said: Ints
    ) -> None:
        """Puts down a number read off the confusion table `counts`, shape (K, K)."""
        value = statistic.value(counts)
        if value.value is None:
            self.without(metric, value.reason, n=value.n)
        elif self._clusters is None and self._strata is None:
            self._tables.append(_Table(len(self._slots), metric, value, statistic))
            self._slots.append(None)
            self._counts = counts
        else:
            cost = 1 + counts.size // self._n
            rows = on_rows(statistic, truth, said, len(counts))
            self._resample(metric, value, rows, cost=cost)

    def resampled(
        self, metric: str, statistic: Statistic, *, cost: int = 1, biased: bool = False,
        suffix: str = "",
    ) -> None:  # fmt: skip
        """Puts down a number whose interval comes from resampling.

        Args:
            metric: its id.
            statistic: the number under weights.
            cost: about how many times a plain mean's time it takes.
            biased: whether resampling is known to shift it: then the interval is BCa at any n that
                is bootstrapped, since a percentile interval would repeat the shift.
            suffix: what the interval's method should say beyond.
        """
        self._resample(
            metric,
            statistic.value(),
            statistic,
            cost=cost,
            kind="bca" if biased else "auto",
            suffix=suffix,
        )

    def rows(self) -> list[Row]:
        """Returns the rows in the order in which they were put down."""
        self._finish_tables()
        for kind in ("auto", "bca"):
            waiting = [entry for entry in self._waiting if entry.kind == kind]
            if waiting:
                results = self._intervals(
                    {str(entry.slot): entry.statistic for entry in waiting}, kind, cost=1
                )
                for entry in waiting:
                    self._slots[entry.slot] = _joined(entry, results[str(entry.slot)])
        self._waiting = []
        return [row for row in self._slots if row is not None]

    def _resample(
        self,
        metric: str,
        value: Value,
        statistic: WeightedStatistic,
        *,
        group: str = "",
        cost: int = 1,
        kind: IntervalKind = "auto",
        suffix: str = "",
    ) -> None:
        if value.value is None:
            self.without(metric, value.reason, n=value.n, group=group)
            return
        entry = _Resampled(len(self._slots), metric, group, value, statistic, kind, suffix)
        if self._n * cost <= BOOTSTRAP_UP_TO or cost == 1:
            self._slots.append(None)
            self._waiting.append(entry)
        else:
            # One at a time: a dear statistic also holds much memory.
            results = self._intervals({"it": statistic}, kind, cost=cost)
            self._slots.append(_joined(entry, results["it"]))

    def _intervals(
        self, statistics: dict[str, WeightedStatistic], kind: IntervalKind, *, cost: int
    ) -> dict[str, BootstrapResult]:
        options = self._options
        if self._n * cost <= BOOTSTRAP_UP_TO or not self._two_units():
            return bootstrap_many(
                statistics,
                self._n,
                level=options.level,
                replicates=options.replicates,
                seed=options.seed,
                stream=self._stream,
                clusters=self._clusters,
                strata=self._strata,
                kind=kind,
            )
        work = _GROUP_WORK // (self._n * cost)
        return block_jackknife_many(
            statistics,
            self._n,
            level=options.level,
            groups=min(_MOST_GROUPS, max(_FEWEST_GROUPS, work)),
            seed=options.seed,
            stream=self._stream,
            clusters=self._clusters,
            strata=self._strata,
        )

    def _two_units(self) -> bool:
        return self._clusters is None or bool((self._clusters != self._clusters[0]).any())

    def _finish_tables(self) -> None:
        if self._counts is None:
            return
        classes = len(self._counts)
        results = count_table_many(
            self._counts.ravel(),
            {entry.metric: _flat(entry.statistic, classes) for entry in self._tables},
            level=self._options.level,
            replicates=self._options.replicates,
            seed=self._options.seed,
            stream=f"{self._stream}/table",
        )
        for entry in self._tables:
            result = results[entry.metric]
            self._slots[entry.slot] = _row(
                entry.metric, "", entry.value, result.interval, result.reason or "", "",
                result.method,
            )  # fmt: skip
        self._tables, self._counts = [], None


def share_among(hits: Bools, among: Ints | None) -> WeightedStatistic:
    """Returns a proportion as a weighted statistic.

    Args:
        hits: whether each sample in the denominator is a success, shape (m,).
        among: their positions, shape (m,); None where they are all samples.
    """
    numbers = hits.astype(np.float64)

    def compute(weights: Floats) -> Floats:
        part = weights if among is None else weights[:, among]
        return np.asarray(np.einsum("bn,n->b", part, numbers) / part.sum(axis=1))

    return compute


def _flat(statistic: TableStatistic, classes: int) -> Callable[[Floats], Floats]:
    return lambda counts: statistic(counts.reshape(-1, classes, classes))


def _joined(entry: _Resampled, result: BootstrapResult) -> Row:
    return _row(
        entry.metric, entry.group, entry.value, result.interval, result.reason or "", entry.suffix,
        result.method,
    )  # fmt: skip


def _row(
    metric: str,
    group: str,
    value: Value,
    interval: Interval | None,
    reason: str,
    suffix: str,
    method: str = "",
) -> Row:
    """Makes a row of a defined value: within the metric's bounds, the interval around the value."""
    info = metric_info(metric)
    number = _bounded(float(value.value or 0.0), info.lower, info.upper)
    notes = [note for note in (suffix, value.note) if note]
    if interval is None:
        method = "; ".join([method, *notes]) if method else "; ".join(notes)
        return Row(metric=metric, value=number, n=value.n, method=method, reason=reason, group=group)
    lower = min(max(interval.lower, info.lower), info.upper)
    upper = min(max(interval.upper, info.lower), info.upper)
    # Resampling shifts a biased number (a binned error, say) away from its value: the interval
    # then reaches to it, which can only add coverage.
    if not lower - _ROUNDING <= number <= upper + _ROUNDING:
        notes.insert(0, "extended to the value")
    return Row(
        metric=metric,
        value=number,
        n=value.n,
        lower=min(lower, number),
        upper=max(upper, number),
        level=interval.level,
        method="; ".join([interval.method, *notes]),
        group=group,
    )


def _bounded(number: float, lower: float, upper: float) -> float:
    """Takes rounding error beyond the ends of a metric's range off."""
    inside = min(max(number, lower), upper)
    return inside if abs(inside - number) <= _ROUNDING else number
