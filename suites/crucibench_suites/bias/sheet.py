"""A sheet of metric rows over the same samples.

Numbers are put down one by one, in the order of the report. Those that are resampled wait until
`Sheet.rows`, so that one set of draws serves them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Form, Statistic, TableStatistic, Value
from crucibench.metrics.ranking import auroc_statistic
from crucibench.metrics.table import on_rows
from crucibench.stats import (
    BootstrapResult,
    Interval,
    IntervalKind,
    WeightedStatistic,
    block_jackknife_many,
    bootstrap_many,
    count_table_many,
    delong_interval,
    wilson,
)
from crucibench.tasks.classification.view import Bools, Floats, Ints
from crucibench_suites.bias.row_making import Bias, Number, undefined, with_interval, with_result

BOOTSTRAP_UP_TO = 100_000
"""Largest n x cost that is bootstrapped; beyond it, groups of samples are left out instead."""

_GROUP_WORK = 4 * 10**7
"""Samples x cost x groups that a jackknife should keep to, within the numbers of groups below."""
_FEWEST_GROUPS, _MOST_GROUPS = 20, 200


class _Resampled(NamedTuple):
    slot: int
    number: Number
    statistic: WeightedStatistic
    kind: IntervalKind


class _Tabled(NamedTuple):
    slot: int
    number: Number
    statistic: TableStatistic


class Sheet:
    """Rows over the same samples."""

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
        self.options = options
        self._n = n
        self._stream = stream
        self._clusters = clusters
        self._strata = strata
        self._slots: list[Row | None] = []
        self._resampled: list[_Resampled] = []
        self._tabled: list[_Tabled] = []
        self._counts: Ints | None = None

    def without(self, metric: str, reason: str, *, n: int | None = None) -> None:
        """Puts down that a number is undefined, and why."""
        value = Value(value=None, n=self._n if n is None else n, reason=reason)
        self.adopt(undefined(Number(metric=metric, value=value)))

    def adopt(self, row: Row) -> None:
        """Puts down a row of another sheet."""
        self._slots.append(row)

    def share(
        self,
        metric: str,
        hits: Bools,
        among: Ints | None,
        *,
        missing: str,
        group: str = "",
        same_samples: bool = True,
    ) -> None:
        """Puts down a proportion; arguments as of `Ledger`."""
        counted = hits if among is None else hits[among]
        successes, trials = int(counted.sum()), len(counted)
        value = (
            Value(value=successes / trials, n=trials)
            if trials
            else Value(value=None, n=0, reason=missing)
        )
        self.closed(
            Number(metric=metric, value=value, group=group),
            lambda level: wilson(successes, trials, level),
            lambda: share_among(counted, among),
        )

    def ranking(self, metric: str, scores: Floats, positives: Bools) -> None:
        """Puts down an area under the ROC curve."""
        area = auroc_statistic(scores, positives)
        self.closed(
            Number(metric=metric, value=area.value()),
            lambda level: delong_interval(scores, positives, level),
            lambda: area,
        )

    def closed(
        self,
        number: Number,
        interval: Callable[[float], Interval],
        statistic: Callable[[], WeightedStatistic],
        *,
        cost: int = 1,
        form: Callable[[], Form] | None = None,
    ) -> None:
        """Puts down a number with a closed-form interval; arguments as of `Ledger`."""
        if number.value.value is None:
            self.adopt(undefined(number))
        elif self._clusters is None:
            self.adopt(with_interval(number, interval(self.options.level)))
        else:
            self.resample(number, statistic(), cost=cost)

    def resampled(
        self,
        metric: str,
        build: Callable[[], Statistic],
        *,
        cost: int = 1,
        bias: Bias = "none",
        suffix: str = "",
    ) -> None:
        """Puts down a number whose interval comes from resampling; arguments as of `Ledger`."""
        statistic = build()
        number = Number(metric=metric, value=statistic.value(), suffix=suffix, bias=bias)
        self.resample(number, statistic, cost=cost)

    def resample(
        self,
        number: Number,
        statistic: WeightedStatistic,
        *,
        cost: int = 1,
    ) -> None:
        """Puts down a number whose interval comes from resampling `statistic`."""
        kind: IntervalKind = "auto" if number.bias == "none" else "percentile"
        if number.value.value is None:
            self.adopt(undefined(number))
        elif cost == 1 or self._n * cost <= BOOTSTRAP_UP_TO:
            self._resampled.append(_Resampled(len(self._slots), number, statistic, kind))
            self._slots.append(None)
        else:
            # One at a time: a dear statistic also holds much memory.
            result = self._intervals({number.metric: statistic}, kind, cost)[number.metric]
            self.adopt(with_result(number, result))

    def table(
        self, metric: str, statistic: TableStatistic, counts: Ints, truth: Ints, said: Ints
    ) -> None:
        """Puts down a number read off the confusion table; arguments as of `Ledger`."""
        number = Number(metric=metric, value=statistic.value(counts))
        if number.value.value is None:
            self.adopt(undefined(number))
        elif self._clusters is None:
            self._counts = counts
            self._tabled.append(_Tabled(len(self._slots), number, statistic))
            self._slots.append(None)
        else:
            cost = 1 + counts.size // self._n
            self.resample(number, on_rows(statistic, truth, said, len(counts)), cost=cost)

    def rows(self) -> list[Row]:
        """Returns the rows in the order in which they were put down."""
        self._finish_tables()
        kinds: tuple[IntervalKind, ...] = ("auto", "percentile")
        for kind in kinds:
            waiting = [entry for entry in self._resampled if entry.kind == kind]
            if waiting:
                statistics = {str(entry.slot): entry.statistic for entry in waiting}
                results = self._intervals(statistics, kind, cost=1)
                for entry in waiting:
                    self._slots[entry.slot] = with_result(entry.number, results[str(entry.slot)])
        self._resampled = []
        return [row for row in self._slots if row is not None]

    def _finish_tables(self) -> None:
        if self._counts is None:
            return
        results = count_table_many(
            self._counts.ravel(),
            {str(entry.slot): _flat(entry.statistic, len(self._counts)) for entry in self._tabled},
            level=self.options.level,
            replicates=self.options.replicates,
            seed=self.options.seed,
            stream=f"{self._stream}/table",
        )
        for entry in self._tabled:
            self._slots[entry.slot] = with_result(entry.number, results[str(entry.slot)])
        self._tabled, self._counts = [], None

    def _intervals(
        self, statistics: Mapping[str, WeightedStatistic], kind: IntervalKind, cost: int
    ) -> dict[str, BootstrapResult]:
        if self._n * cost <= BOOTSTRAP_UP_TO or not self._two_units():
            return bootstrap_many(
                statistics,
                self._n,
                level=self.options.level,
                replicates=self.options.replicates,
                seed=self.options.seed,
                stream=self._stream,
                clusters=self._clusters,
                strata=self._strata,
                kind=kind,
            )
        groups = _GROUP_WORK // (self._n * cost)
        return block_jackknife_many(
            statistics,
            self._n,
            level=self.options.level,
            groups=min(_MOST_GROUPS, max(_FEWEST_GROUPS, groups)),
            seed=self.options.seed,
            stream=self._stream,
            clusters=self._clusters,
            strata=self._strata,
        )

    def _two_units(self) -> bool:
        return self._clusters is None or bool((self._clusters != self._clusters[0]).any())


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
