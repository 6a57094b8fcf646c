"""All differences of one cell: two models' numbers over the same samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crucibench.comparing.differences import Flips
from crucibench.comparing.extremes import extreme_difference
from crucibench.comparing.resampled import Resampled, ResamplingSettings, resampled_differences
from crucibench.contracts.statistic import (
    Bias,
    BoundedMean,
    Form,
    Ranking,
    RowMetric,
    Share,
    TableMetric,
)
from crucibench.metrics.forms import as_rows, bounded_by, counted, evaluate
from crucibench.metrics.scoring import COMPOSED_UP_TO, cost_of, linear, share_bounds
from crucibench.stats import (
    Interval,
    PairedDifference,
    bounded_mean,
    detectable_mean,
    detectable_paired_proportions,
    difference_of,
    mcnemar_exact,
    newcombe_paired,
    paired_table_difference,
    wilson,
)
from crucibench.stats.delong import delong_both

Key: TypeAlias = tuple[str, str, str]
"""(metric, point, group)."""

Values: TypeAlias = tuple[float | None, float | None]
"""(baseline, candidate)."""


class FormPair(NamedTuple):
    """One number of both sides, over the same samples in the same order.

    Attributes:
        baseline: the baseline's form.
        candidate: the candidate's.
        lower_is_better: whether a hit of a share is a bad thing.
    """

    baseline: Form
    candidate: Form
    lower_is_better: bool = False


@dataclass(frozen=True, kw_only=True)
class MeasuredDifference:
    """What the samples say of one number's difference; fields as of `MetricDifference`."""

    baseline: float | None
    candidate: float | None
    n: int
    interval: Interval | None = None
    standard_error: float | None = None
    p: float | None = None
    method: str = ""
    detectable: float | None = None
    flips: Flips | None = None
    moved: Flips | None = None
    identical: bool = False
    reason: str = ""

    @property
    def delta(self) -> float | None:
        """Candidate minus baseline."""
        if self.baseline is None or self.candidate is None:
            return None
        return self.candidate - self.baseline


def measure_cell(
    pairs: Mapping[Key, FormPair],
    ids: NDArray[Any],
    clusters: NDArray[np.int64] | None = None,
    settings: ResamplingSettings | None = None,
) -> dict[Key, MeasuredDifference]:
    """Measures every difference of a cell.

    Shares over the same samples: exact McNemar and Newcombe's interval. Functions of the confusion
    table: composed of the classes' intervals. Means within bounds, such as losses: Gaffke's
    interval. Shares with denominators of their own, and what has a closed form of its interval:
    squared and added. AUROC: DeLong. Largest gaps
    and worst groups: `extreme_difference`. All else, and everything else where samples come in
    clusters: `resampled_differences`, under the same draws.

    Args:
        pairs: the numbers.
        ids: what the samples are called in flips, shape (n,).
        clusters: codes of samples drawn together, shape (n,), or None.
        settings: level, replicates, seed.

    Returns:
        One entry for each pair.
    """
    return _Cell(ids, clusters, settings or ResamplingSettings()).measure(pairs)


class _Cell:
    def __init__(
        self,
        ids: NDArray[Any],
        clusters: NDArray[np.int64] | None,
        settings: ResamplingSettings,
    ) -> None:
        self.ids = ids
        self.n = len(ids)
        self.clusters = clusters
        self.how = settings

    def measure(self, pairs: Mapping[Key, FormPair]) -> dict[Key, MeasuredDifference]:
        found: dict[Key, MeasuredDifference] = {}
        rows: dict[Key, FormPair] = {}
        values: dict[Key, Values] = {}
        for key, pair in pairs.items():
            first, second = pair.baseline, pair.candidate
            if self._is_ranked(first, second):
                # Both areas come with their difference.
                found[key] = self._areas(pair)
                continue
            values[key] = self._values(pair)
            if None in values[key]:
                found[key] = self._undefined(*values[key])
            elif (extreme := self._extreme(pair)) is not None:
                found[key] = self._measured(pair, values[key], extreme)
            elif self.clusters is not None:
                rows[key] = pair
            elif isinstance(first, Share) and isinstance(second, Share):
                same = _same_samples(first, second)
                measure = self._same_share if same else self._apart_shares
                found[key] = measure(pair, first, second, values[key])
            elif (composed := self._composed(first, second)) is not None:
                found[key] = self._measured(pair, values[key], composed)
            elif (closed := self._closed(first, second, values[key])) is not None:
                found[key] = self._measured(pair, values[key], closed)
            else:
                rows[key] = pair
        for key, paired in self._rows(rows, values).items():
            found[key] = self._measured(pairs[key], values[key], paired)
        return {key: found[key] for key in pairs}

    def _is_ranked(self, first: Form, second: Form) -> bool:
        if self.clusters is not None:
            return False
        if not (isinstance(first, Ranking) and isinstance(second, Ranking)):
            return False
        return bool(first.positives.any() and not first.positives.all())

    def _areas(self, pair: FormPair) -> MeasuredDifference:
        first, second = pair.baseline, pair.candidate
        if not (isinstance(first, Ranking) and isinstance(second, Ranking)):
            raise TypeError("expected two rankings")
        both = delong_both(second.scores, first.scores, first.positives, self.how.level)
        return self._measured(pair, (both.auc_b, both.auc_a), both.difference)

    def _values(self, pair: FormPair) -> Values:
        first, second = (evaluate(form, self.n) for form in (pair.baseline, pair.candidate))
        return (first if math.isfinite(first) else None, second if math.isfinite(second) else None)

    def _undefined(self, baseline: float | None, candidate: float | None) -> MeasuredDifference:
        sides = [
            side
            for side, value in (("baseline", baseline), ("candidate", candidate))
            if value is None
        ]
        reason = f"it is undefined for the {' and the '.join(sides)} on these samples"
        return MeasuredDifference(baseline=baseline, candidate=candidate, n=self.n, reason=reason)

    def _same_share(
        self,
        pair: FormPair,
        baseline: Share,
        candidate: Share,
        values: Values,
    ) -> MeasuredDifference:
        """Two proportions of the same samples."""
        (was, among), (now, _) = counted(baseline), counted(candidate)
        n = int(among.sum())
        only_was, only_now = int((was & ~now).sum()), int((now & ~was).sum())
        both = int((was & now).sum())
        discordant = only_was + only_now
        discordance = discordant / n if discordant else wilson(0, n, self.how.level).upper
        interval = newcombe_paired(both, only_now, only_was, n - both - discordant, self.how.level)
        variance = (discordant - (only_now - only_was) ** 2 / n) / n**2
        return MeasuredDifference(
            baseline=values[0], candidate=values[1], n=n, interval=interval,
            standard_error=math.sqrt(max(variance, 0.0)), p=mcnemar_exact(only_was, only_now),
            method=f"{interval.method}; mcnemar-exact",
            detectable=detectable_paired_proportions(n, discordance),
            flips=self._flips(pair), identical=discordant == 0,
        )  # fmt: skip

    def _apart_shares(
        self,
        pair: FormPair,
        baseline: Share,
        candidate: Share,
        values: Values,
    ) -> MeasuredDifference:
        """Two proportions of different samples, such as precisions: squared and added."""
        sides = []
        for share, value in ((baseline, values[0]), (candidate, values[1])):
            hits, among = counted(share)
            influence = np.where(among, hits - hits.sum() / among.sum(), 0.0) / among.sum()
            assert value is not None
            sides.append(_Side(value, share_bounds(share, self.how.level), influence))
        return self._measured(pair, values, _square_and_add(*sides))

    def _rows(
        self, pairs: Mapping[Key, FormPair], values: Mapping[Key, Values]
    ) -> dict[Key, PairedDifference]:
        named = {str(key): (key, _resampled(pair, values[key])) for key, pair in pairs.items()}
        asked = {name: one for name, (_, one) in named.items()}
        found = resampled_differences(asked, self.n, self.clusters, self.how)
        return {named[name][0]: paired for name, paired in found.items()}

    def _extreme(self, pair: FormPair) -> PairedDifference | None:
        first, second = pair.baseline, pair.candidate
        if not (isinstance(first, RowMetric) and isinstance(second, RowMetric)):
            return None
        return extreme_difference(second, first, self.clusters, self.how.level)

    def _composed(self, baseline: Form, candidate: Form) -> PairedDifference | None:
        """Returns the difference of two functions of tables, or of two means within bounds."""
        if isinstance(baseline, TableMetric) and isinstance(candidate, TableMetric):
            if baseline.classes > COMPOSED_UP_TO:
                return None
            return paired_table_difference(
                candidate.predictions, baseline.predictions, baseline.targets, baseline.of_tables,
                classes=baseline.classes, level=self.how.level,
            )  # fmt: skip
        was, now = bounded_by(baseline), bounded_by(candidate)
        if was is None or now is None:
            return None
        return _bounded_difference(now, was, self.how.level)

    def _closed(self, baseline: Form, candidate: Form, values: Values) -> PairedDifference | None:
        """Returns the difference of two numbers whose intervals are in closed form."""
        sides = []
        for form, value in zip((baseline, candidate), values, strict=True):
            if not isinstance(form, RowMetric) or form.extreme is not None:
                return None
            if form.closed is None or form.influence is None:
                return None
            interval, influence = form.closed(self.how.level), form.influence()
            if isinstance(interval, str) or influence is None or value is None:
                return None
            sides.append(_Side(value, interval, influence))
        return _square_and_add(*sides)

    def _measured(
        self, pair: FormPair, values: Values, found: PairedDifference
    ) -> MeasuredDifference:
        error = found.standard_error if math.isfinite(found.standard_error) else None
        detectable = None
        if error:
            detectable = detectable_mean(self.n, error * math.sqrt(self.n))
        return MeasuredDifference(
            baseline=values[0], candidate=values[1], n=self.n, interval=found.interval,
            standard_error=error, p=found.p_value if math.isfinite(found.p_value) else None,
            method=found.method, detectable=detectable, flips=self._flips(pair),
            moved=self._moved(pair),
            identical=found.degenerate and values[0] == values[1],
            reason=found.reason or "",
        )  # fmt: skip

    def _flips(self, pair: FormPair) -> Flips | None:
        first, second = pair.baseline, pair.candidate
        if not (isinstance(first, Share) and isinstance(second, Share) and first.same_samples):
            return None
        (was, among), (now, _) = counted(first), counted(second)
        if pair.lower_is_better:
            was, now = among & ~was, among & ~now
        return Flips(self.ids[was & ~now], self.ids[now & ~was])

    def _moved(self, pair: FormPair) -> Flips | None:
        first, second = pair.baseline, pair.candidate
        if not (isinstance(first, RowMetric) and isinstance(second, RowMetric)):
            return None
        if first.by_sample is None or second.by_sample is None:
            return None
        was, now = first.by_sample, second.by_sample
        return Flips(self.ids[now < was], self.ids[now > was])


class _Side(NamedTuple):
    """A model's number, its interval, and its derivatives by the samples' weights, (n,)."""

    value: float
    interval: Interval
    influence: NDArray[np.float64]


def _square_and_add(was: _Side, now: _Side) -> PairedDifference:
    """Returns the difference of two numbers, from their own intervals.

    The distances to their ends are squared and added, less what the two have in common: the
    correlation of their influences (Zou and Donner 2008, Statistics in Medicine 27:1693).
    """
    spread = math.sqrt(float(now.influence @ now.influence) * float(was.influence @ was.influence))
    together = float(now.influence @ was.influence) / spread if spread else 0.0
    estimate, (one, other) = now.value - was.value, (now.interval, was.interval)
    below = _apart(now.value - one.lower, other.upper - was.value, together)
    above = _apart(one.upper - now.value, was.value - other.lower, together)
    interval = Interval(estimate - below, estimate + above, one.level, "square-and-add-paired")
    alike = bool(np.array_equal(now.influence, was.influence))
    return difference_of(estimate, interval, alike=alike)


def _bounded_difference(
    candidate: BoundedMean, baseline: BoundedMean, level: float
) -> PairedDifference:
    """Returns the difference of two means within bounds.

    Under whichever label, two models' numbers differ by no more than they do for one of these
    samples: for models that are alike that is much less than the numbers themselves range over.
    """
    change = candidate.values - baseline.values
    lower, upper = candidate.lower - baseline.upper, candidate.upper - baseline.lower
    if candidate.by_label is not None and baseline.by_label is not None:
        either = candidate.by_label() - baseline.by_label()
        lower, upper = float(either.min()), float(either.max())
    lower, upper = min(lower, float(change.min())), max(upper, float(change.max()))
    estimate = float(change.mean())
    if lower == upper == 0.0:
        reason = "the two answer alike, which is no proof of precision"
        return PairedDifference(estimate, None, 0.0, 1.0, "gaffke", reason, degenerate=True)
    return difference_of(estimate, bounded_mean(change, lower, upper, level))


def _resampled(pair: FormPair, values: Values) -> Resampled:
    old, new = (math.nan if value is None else value for value in values)
    first, second = pair.baseline, pair.candidate
    influences = None
    bias: Bias = "none"
    n = len(first.targets) if isinstance(first, TableMetric) else 1
    cost = max(cost_of(first, n), cost_of(second, n))
    if isinstance(first, RowMetric) and isinstance(second, RowMetric):
        if first.influence is not None and second.influence is not None:
            influences = (second.influence, first.influence)
        bias = first.bias if second.bias == "none" else second.bias
    together = linear(first) and linear(second)
    return Resampled(as_rows(second), as_rows(first), new - old, influences, bias, together, cost)


def _apart(one: float, other: float, correlation: float) -> float:
    """Returns the distance of a difference of two correlated estimates to its bound."""
    return math.sqrt(max(0.0, one**2 - 2.0 * correlation * one * other + other**2))


def _same_samples(first: Share, second: Share) -> bool:
    if not (first.same_samples and second.same_samples):
        return False
    if first.of_share is not None or second.of_share is not None:
        return False
    if first.among is None or second.among is None:
        return first.among is second.among
    return bool(np.array_equal(first.among, second.among))
