"""Rows of numbers: from the one definition of a number to its value and its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Scored, ScoringOptions
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.statistic import (
    Bias,
    BoundedMean,
    Form,
    Interval,
    Number,
    Ranking,
    RowMetric,
    Share,
    Statistic,
    TableMetric,
    Units,
    Value,
    value_of,
)
from crucibench.metrics.askings import numbers_of_cell
from crucibench.metrics.forms import as_rows, counted, evaluate, table_of
from crucibench.metrics.ranking import auroc_statistic
from crucibench.stats import (
    BootstrapResult,
    IntervalKind,
    WeightedStatistic,
    auc_interval,
    block_jackknife_many,
    bootstrap_many,
    bounded_mean,
    linearised_interval,
    share_interval,
    table_interval,
)
from crucibench.stats.resampling import MOST_UNITS
from crucibench.stats.weighted import sums_of
from crucibench.util.errors import InputError

LINEAR_FROM = 200
"""Samples of the rarer outcome from which a number with derivatives isn't resampled: with so many
its interval covers as the bootstrap's does, at the cost of one pass (`coverage.py`)."""

BOOTSTRAP_UP_TO = 100_000
"""Largest n x cost of what is bootstrapped by passes over all samples; beyond it, groups of samples
are left out instead."""

MOST_SUMS = 1000
"""Most sums of which a number is bootstrapped, at any number of samples."""

COMPOSED_UP_TO = 100
"""Most classes of which intervals are composed; the mean of more is well resampled."""

_WIDE = 0.15
"""Of a number that runs from 0 to 1, a half-width that tells no two usual models apart; of one that
runs from -1 to 1, twice that."""

FEWEST_CLUSTERS = 30
"""With fewer clusters, resampling them covers too seldom: in simulation 61 to 89 % with ten, where
95 is asked, and 92 to 97 with thirty (`prompted_coverage.py`)."""

_FEW = 10
"""Fewer than so many errors, or positives, show too little of what resampling would repeat."""

_RELATIVELY_WIDE = 0.5
"""The same of a number without an upper end, or one that is far away, as a share of its value."""

_GROUP_WORK = 4 * 10**7
"""Samples x cost x groups that a jackknife should keep to, within the numbers of groups below."""
_FEWEST_GROUPS, MOST_GROUPS = 20, 200

_ROUNDING = 1e-9

Codes = NDArray[np.int64]


def score(scenario: Scenario, evidence: Evidence) -> Scored:
    """Returns all rows and tables of a scenario: of its numbers, and what it computes itself."""
    numbers = numbers_of_cell(scenario, evidence)
    rows = rows_of(numbers, scenario, evidence)
    own = scenario.score(evidence)
    tables = dict(scenario.tables(evidence, rows)) if numbers else {}
    return Scored([*rows, *own.rows], {**tables, **own.tables})


def rows_of(numbers: Iterable[Number], scenario: Scenario, evidence: Evidence) -> list[Row]:
    """Returns a row for each number, in their order.

    Closed forms where samples are independent: of shares, areas under the ROC curve, functions of a
    confusion table of up to 100 classes, means within bounds, and a number's own; or derivatives,
    where enough of the rarer outcome stands behind them. All else, and everything where samples
    come in clusters, is resampled by the bootstrap; what is no function of sums, beyond 100,000
    samples (times the number's cost), by the delete-a-group jackknife.

    Args:
        numbers: what to compute.
        scenario: its metrics give bounds, its stream names the draws.
        evidence: what the numbers are of.

    Raises:
        InputError: if the scenario does not list a number's metric.
    """
    infos = {info.id: info for info in scenario.metrics}
    whole = Units(evidence.own.samples, "")
    sheets: dict[int, _Sheet] = {}
    slots: list[tuple[_Sheet, int]] = []
    for number in numbers:
        if number.metric not in infos:
            raise InputError(
                f"{scenario.address} computes metric {number.metric!r}, which it does not list: "
                f"add it to the metrics of {type(scenario).__name__}"
            )
        units = number.units or whole
        if id(units) not in sheets:
            stream = "/".join(part for part in (scenario.stream, units.stream) if part)
            sheets[id(units)] = _Sheet(units, stream, evidence.options, infos)
        sheet = sheets[id(units)]
        slots.append((sheet, sheet.add(number)))
    made = {id(sheet): sheet.rows() for sheet in sheets.values()}
    return [made[id(sheet)][slot] for sheet, slot in slots]


def cluster_codes(clusters: NDArray[np.object_] | None) -> Codes | None:
    """Returns cluster names as codes in the order of the names, shape (n,)."""
    if clusters is None:
        return None
    codes, _ = pd.factorize(np.asarray(clusters, dtype=object), sort=True)
    return np.asarray(codes, dtype=np.int64)


@dataclass(frozen=True)
class _Waiting:
    """A number whose interval is resampled together with others'."""

    slot: int
    number: Number
    value: Value
    form: Form
    statistic: WeightedStatistic


class _Sheet:
    """Rows over the same units. Those that are resampled wait, so that one set of draws serves all.

    Where the data names clusters no closed form is used, since all take samples for independent.
    """

    def __init__(
        self,
        units: Units,
        stream: str,
        options: ScoringOptions,
        infos: Mapping[str, MetricInfo],
    ) -> None:
        self._n = len(units.samples)
        self._clusters = cluster_codes(units.samples.clusters)
        self._strata = units.strata
        self._estimand = units.estimand
        self._stream = stream
        self._options = options
        self._infos = infos
        self._slots: list[Row | None] = []
        self._resampled: dict[IntervalKind, list[_Waiting]] = {"auto": [], "percentile": []}

    def add(self, number: Number) -> int:
        """Takes a number, and returns its slot."""
        slot = len(self._slots)
        self._slots.append(None)
        value, form = self._value(number)
        if form is None or value.value is None:
            self._slots[slot] = _undefined(number, value)
            return slot
        if number.exact:
            self._slots[slot] = Row(
                metric=number.metric, value=value.value, n=value.n, reason=number.exact,
                estimand="model/ids", point=number.point, group=number.group,
            )  # fmt: skip
            return slot
        closed = self._closed(form) or self._linear(number, value.value, form)
        if closed is not None:
            interval = closed(self._options.level)
            self._slots[slot] = (
                self._without_interval(number, value, form, interval)
                if isinstance(interval, str)
                else self._with_interval(number, value, interval, form)
            )
        else:
            self._resample(_Waiting(slot, number, value, form, as_rows(form)))
        return slot

    def rows(self) -> list[Row]:
        """Returns the rows by slot."""
        for kind, waiting in self._resampled.items():
            if waiting:
                asked = {str(one.slot): one.statistic for one in waiting}
                results = self._intervals(asked, kind)
                for one in waiting:
                    self._finish(one, results[str(one.slot)])
        return [row for row in self._slots if row is not None]

    def _value(self, number: Number) -> tuple[Value, Form | None]:
        if number.make is None or not self._n:
            n = self._n if number.n is None else number.n
            reason = number.undefined or "no samples"
            return Value(value=None, n=n, reason=reason), None
        # Not the number's own, which keeps it: those of a thousand classes would fill the memory.
        form = number.make()
        value = self._value_of(form, number.undefined)
        if number.n is not None:
            value = Value(value=value.value, n=number.n, reason=value.reason, note=value.note)
        return value, form

    def _value_of(self, form: Form, undefined: str) -> Value:
        if isinstance(form, Share):
            trials = int(np.count_nonzero(counted(form)[1]))
            return value_of(evaluate(form, self._n), trials, reason=undefined or "no samples")
        if isinstance(form, Ranking):
            return auroc_statistic(form.scores, form.positives).value()
        if isinstance(form, TableMetric):
            return form.of_tables.value(table_of(form))
        if isinstance(form.of_rows, Statistic):
            found = form.of_rows.value()
            return replace(found, reason=undefined) if found.reason and undefined else found
        return value_of(
            evaluate(form, self._n), self._n,
            reason=undefined or "not defined for these samples",
        )  # fmt: skip

    def _closed(self, form: Form) -> Callable[[float], Interval | str] | None:
        independent = self._clusters is None
        if isinstance(form, Share):
            alone = partial(share_bounds, form)
            return alone if independent else form.closed_by_cluster
        if isinstance(form, Ranking):
            ranked = partial(auc_interval, form.scores, form.positives)
            return ranked if independent else None
        if isinstance(form, TableMetric):
            composed = partial(_table_interval, form)
            return composed if independent and form.classes <= COMPOSED_UP_TO else None
        if isinstance(form, RowMetric):
            if form.bounded is not None and independent:
                return partial(_bounded_interval, form.bounded)
            return form.closed if independent or form.closed_by_cluster else None
        assert_never(form)

    def _linear(
        self, number: Number, value: float, form: Form
    ) -> Callable[[float], Interval | str] | None:
        """Returns the interval of a number from 0 to 1 by its derivatives, where these do."""
        info = self._infos[number.metric]
        if self._clusters is not None or self._strata is not None or not linear(form):
            return None
        if (info.lower, info.upper) != (0.0, 1.0):
            return None
        influence = form.influence() if isinstance(form, RowMetric) and form.influence else None
        if influence is None:
            return None

        def interval(level: float) -> Interval | str:
            found = linearised_interval(value, influence, level=level)
            return found or "no sample moves it, which is no proof of precision"

        return interval

    def _resample(self, one: _Waiting) -> None:
        kind: IntervalKind = "auto" if _bias(one.form) == "none" else "percentile"
        groups = jackknife_groups(one.statistic, self._n, cost_of(one.form, self._n))
        if groups is None or not self._two_units():
            self._resampled[kind].append(one)
            return
        # One at a time: a dear statistic also holds much memory.
        (found,) = block_jackknife_many(
            {"": one.statistic}, self._n, level=self._options.level, groups=groups,
            seed=self._options.seed, stream=self._stream, clusters=self._clusters,
            strata=self._strata,
        ).values()  # fmt: skip
        self._finish(one, found)

    def _intervals(
        self, statistics: Mapping[str, WeightedStatistic], kind: IntervalKind
    ) -> dict[str, BootstrapResult]:
        return bootstrap_many(
            statistics, self._n, level=self._options.level, replicates=self._options.replicates,
            seed=self._options.seed, stream=self._stream, clusters=self._clusters,
            strata=self._strata, kind=kind,
        )  # fmt: skip

    def _two_units(self) -> bool:
        return self._clusters is None or bool((self._clusters != self._clusters[0]).any())

    def _finish(self, one: _Waiting, result: BootstrapResult) -> None:
        number, value = one.number, one.value
        if result.interval is not None:
            interval = _unbiased(value.value or 0.0, _bias(one.form), result.interval)
            needed = ""
            if self._clusters is not None and len(np.unique(self._clusters)) < FEWEST_CLUSTERS:
                needed = f"too few clusters: about {FEWEST_CLUSTERS} would do"
            self._slots[one.slot] = self._with_interval(number, value, interval, one.form, needed)
            return
        reason = result.reason or "resampling gave no interval"
        self._slots[one.slot] = self._without_interval(
            number, value, one.form, reason, result.method
        )

    def _without_interval(
        self, number: Number, value: Value, form: Form, reason: str, method: str = ""
    ) -> Row:
        return Row(
            metric=number.metric, value=self._bounded(number, value), n=value.n,
            method=_method(method, number.note, value.note), reason=reason,
            estimand=self._estimand, mark=_mark(form, imprecise=False),
            point=number.point, group=number.group,
        )  # fmt: skip

    def _with_interval(
        self, number: Number, value: Value, interval: Interval, form: Form, needed: str = ""
    ) -> Row:
        """Returns the row of a number, its interval extended to the value where it misses it."""
        info = self._infos[number.metric]
        at = self._bounded(number, value)
        lower = min(max(interval.lower, info.lower), info.upper)
        upper = min(max(interval.upper, info.lower), info.upper)
        missed = not lower - _ROUNDING <= at <= upper + _ROUNDING
        if min(lower, at) == max(upper, at) and at in {info.lower, info.upper}:
            reason = "an interval of no width, which is no proof of precision"
            return self._without_interval(number, value, form, reason, interval.method)
        excess = _excess(at, max(upper, at) - min(lower, at), info)
        needed = _needed(form, excess, value.n) or needed
        # A mean over classes of which some have no sample is another number.
        lacking = isinstance(form, TableMetric) and bool(value.note)
        extended = "extended to the value" if missed else ""
        return Row(
            metric=number.metric, value=at, n=value.n, lower=min(lower, at), upper=max(upper, at),
            level=interval.level,
            method=_method(interval.method, extended, number.note, value.note, needed),
            estimand=self._estimand, mark=_mark(form, imprecise=bool(needed) or lacking),
            point=number.point, group=number.group,
        )  # fmt: skip

    def _bounded(self, number: Number, value: Value) -> float:
        """Returns the value without rounding errors beyond the ends of the metric's range."""
        info = self._infos[number.metric]
        at = math.nan if value.value is None else value.value
        inside = min(max(at, info.lower), info.upper)
        return inside if abs(inside - at) <= _ROUNDING else at


def linear(form: Form) -> bool:
    """Returns whether enough samples of the rarer outcome stand behind a number's derivatives."""
    if not isinstance(form, RowMetric) or form.influence is None:
        return False
    if form.bias != "none" and form.parts == 1:
        return False
    return form.rare is not None and form.rare * form.parts >= LINEAR_FROM


def cost_of(form: Form, n: int) -> int:
    """Returns about how many times a plain mean's time a number takes at n samples."""
    if isinstance(form, TableMetric):
        return 1 + form.classes**2 // n
    return form.cost if isinstance(form, RowMetric) else 1


def jackknife_groups(statistic: WeightedStatistic, n: int, cost: int) -> int | None:
    """Returns how many groups of samples are to be left out in turn; None to bootstrap."""
    sums = sums_of(statistic)
    if sums is not None:
        # Of that many sums a mean of means is made, say over classes: it is smooth.
        return None if sums.count <= MOST_SUMS or n <= MOST_UNITS else MOST_GROUPS
    if n * cost <= BOOTSTRAP_UP_TO:
        return None
    return min(MOST_GROUPS, max(_FEWEST_GROUPS, _GROUP_WORK // (n * cost)))


def _undefined(number: Number, value: Value) -> Row:
    return Row(
        metric=number.metric, value=None, n=value.n, reason=value.reason,
        point=number.point, group=number.group,
    )  # fmt: skip


def _bias(form: Form) -> Bias:
    return form.bias if isinstance(form, RowMetric) else "none"


def _mark(form: Form, *, imprecise: bool) -> str:
    marks = ("biased" if _bias(form) == "up" else "", "imprecise" if imprecise else "")
    return ", ".join(filter(None, marks))


def _excess(value: float, width: float, info: MetricInfo) -> float:
    """Returns an interval's width over the widest that a claim may rest on."""
    if info.lower >= -1.0 and info.upper <= 1.0:
        return width / (2 * _WIDE * (info.upper - info.lower))
    if info.direction.startswith("target") or info.lower < 0 or not width:
        return 0.0
    return width / (2 * _RELATIVELY_WIDE * abs(value)) if value else math.inf


def _needed(form: Form, excess: float, n: int) -> str:
    """Returns how many samples an imprecise number needs, in words; "" where it is precise."""
    rare = form.rare if isinstance(form, RowMetric) else None
    # Widths fall with the square root of n, and counts of what is rare grow with it.
    factors = [excess**2, 0.0 if rare is None else _FEW / max(rare, 0.5)]
    if max(factors) <= 1.0:
        return ""
    if math.isinf(excess):
        return "too few, next to a value of 0"
    needed = max(factors) * n
    unit = 10.0 ** (math.floor(math.log10(needed)) - 1)
    return f"too few: about {math.ceil(needed / unit) * unit:,.0f} would do"


def share_bounds(form: Share, level: float) -> Interval:
    """Returns a share's interval; of a function that grows with the share, its bounds mapped."""
    hits, among = counted(form)
    found = share_interval(int(np.count_nonzero(hits)), int(np.count_nonzero(among)), level)
    if form.of_share is None:
        return found
    lower, upper = form.of_share(np.array(found[:2]))
    return Interval(float(lower), float(upper), level, f"{found.method}-{form.share_name}")


def _table_interval(form: TableMetric, level: float) -> Interval | str:
    return table_interval(table_of(form), form.of_tables, level)


def _bounded_interval(mean: BoundedMean, level: float) -> Interval | str:
    """Returns Gaffke's interval, its method naming the bounds."""
    found = bounded_mean(mean.values, mean.lower, mean.upper, level)
    return found._replace(method=f"{found.method} over {mean.lower:g} to {mean.upper:.3g}")


def _unbiased(value: float, bias: Bias, interval: Interval) -> Interval:
    """Turns the percentile interval of a biased number about its value.

    Noise adds to a binned error, and resampling adds noise to noise: replicates of a calibrated
    model's ECE may all lie above its value, and so would a percentile interval. The basic bootstrap
    (Davison and Hinkley 1997, section 5.2.1) takes the shift of the replicates for that of the
    value and turns it back. A number that is corrected already keeps the wider of both ends.
    """
    if bias == "none" or "percentile" not in interval.method:
        return interval
    lower, upper = 2 * value - interval.upper, 2 * value - interval.lower
    if bias == "up":
        method = interval.method.replace("percentile", "basic")
        return Interval(lower, upper, interval.level, method)
    return Interval(
        min(lower, interval.lower), max(upper, interval.upper), interval.level,
        interval.method.replace("percentile", "basic-and-percentile"),
    )  # fmt: skip


def _method(*parts: str) -> str:
    return "; ".join(part for part in parts if part)
