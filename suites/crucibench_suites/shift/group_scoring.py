"""Rows, tables and comparables of subpopulations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import CellEvidence, Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Number, RowMetric, Share
from crucibench.contracts.task import Task
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.groups import Figure, GroupFigures, GroupMean, crossed, group_figures
from crucibench.stats import SumStatistic
from crucibench.tasks.classification.view import Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers
from crucibench_suites.shift.audits import no_samples
from crucibench_suites.shift.names import class_column
from crucibench_suites.shift.numbers import mean_of, number

_TOGETHER = ", "
_SIDES: Mapping[str, Literal["higher", "lower"]] = {"higher": "higher", "lower": "lower"}


_SHOWN = 3


@dataclass(frozen=True)
class Outcomes:
    """What a pass is judged by: a number a sample, and which metric its mean is.

    Attributes:
        values: right or wrong, or the absolute error, shape (n,).
        mean: the metric that is their mean.
        worst: of the worst group.
        average: over groups.
        tenth: the percentile of groups.
    """

    values: Floats
    mean: MetricInfo
    worst: MetricInfo
    average: MetricInfo
    tenth: MetricInfo

    @property
    def direction(self) -> Literal["higher", "lower"]:
        """Which outcomes are better."""
        return _SIDES[self.mean.direction]


def outcomes_of(cell: CellEvidence, task: Task) -> Outcomes:
    """Reads a pass."""
    if task.one_class:
        right = clean_answers(cell, cell.samples.ids, task).correct.astype(np.float64)
        return Outcomes(
            right, metrics.TOP_1, metrics.WORST_GROUP, metrics.GROUP_AVERAGE, metrics.GROUP_TENTH
        )
    predictions = cell.records.aligned(cell.samples.ids).array("prediction").astype(np.float64)
    return Outcomes(
        np.abs(predictions - cell.samples.targets), metrics.MAE, metrics.WORST_GROUP_MAE,
        metrics.GROUP_AVERAGE_MAE, metrics.GROUP_TENTH_MAE,
    )  # fmt: skip


class Partition(NamedTuple):
    """A way to split samples into groups: its name, and the name of each one's group, (n,)."""

    name: str
    labels: NDArray[np.object_]


def partitions(cell: CellEvidence, task: Task, cross: Sequence[Sequence[str]]) -> list[Partition]:
    """Returns the ways to split: each column, each with the true class, and the crossings.

    With the class, as WILDS groups Waterbirds and CelebA: a column that the class goes with hurts
    where the two part, which the column alone does not show.
    """
    groups = cell.samples.groups
    own = list(groups.columns)
    wished = [[name] for name in own]
    if task.one_class:
        names = np.array(task.classes, dtype=object)
        known = class_column(own)
        groups = groups.assign(**{known: names[cell.samples.targets.astype(np.int64)]})
        wished += [[known, name] for name in own]
    wished += [list(columns) for columns in cross if set(columns) <= set(groups.columns)]
    unlike = {_TOGETHER.join(columns): columns for columns in wished}
    return [Partition(name, crossed(groups, columns)) for name, columns in unlike.items()]


def figures_by_partition(
    evidence: Evidence, cross: Sequence[Sequence[str]], stream: str
) -> dict[str, GroupFigures]:
    """Returns the figures of each way to split the needed pass; their draws are made once."""
    key = ("figures by group", stream, repr(cross))
    return evidence.once(key, lambda: _figures(evidence, cross, stream))


def _figures(
    evidence: Evidence, cross: Sequence[Sequence[str]], stream: str
) -> dict[str, GroupFigures]:
    cell, options = evidence.needs["pass"], evidence.options
    outcomes = outcomes_of(cell, evidence.task)
    found = partitions(cell, evidence.task, cross)
    return {
        name: group_figures(
            labels, outcomes.values,
            min_group_size=options.min_group_size, direction=outcomes.direction,
            clusters=cell.samples.clusters, level=options.level, ways=len(found),
            seed=options.seed, stream=f"{stream}/{name}",
        )
        for name, labels in found
    }  # fmt: skip


def group_numbers(evidence: Evidence) -> list[Number]:
    """Returns the mean over all samples of the pass."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        return []
    outcomes = outcomes_of(cell, evidence.task)
    hits = outcomes.mean is metrics.TOP_1
    form = Share(outcomes.values == 1.0) if hits else mean_of(outcomes.values)
    return [number(outcomes.mean, form)]


def score_groups(evidence: Evidence, cross: Sequence[Sequence[str]], stream: str) -> Scored:
    """Scores a pass by groups."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        return Scored([])
    outcomes = outcomes_of(cell, evidence.task)
    found = figures_by_partition(evidence, cross, stream)
    rows = [_worst_of_all(found, outcomes, len(cell.samples), evidence.options.level)]
    shown: set[str] = set()
    for name, figures in found.items():
        rows += _figure_rows(name, figures, outcomes)
        # Two crossings may share a group, by columns of one value; it is one row.
        rows += [
            _group_row(group, outcomes.mean)
            for group in figures.groups
            if group.name not in shown and group.name != NO_GROUP
        ]
        shown |= {group.name for group in figures.groups}
    tables = {"worst-groups": _worst_table(found), "groups": _group_table(found)}
    return Scored(rows, {name: table for name, table in tables.items() if len(table)})


def comparables_of_groups(evidence: Evidence, cross: Sequence[Sequence[str]]) -> list[Comparable]:
    """Returns the worst group of each way to split."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        return []
    outcomes = outcomes_of(cell, evidence.task)
    numbers = []
    for name, labels in partitions(cell, evidence.task, cross):
        codes, names = pd.factorize(labels, sort=True)
        sizes = np.bincount(codes, minlength=len(names))
        counting = [
            code for code, group in enumerate(names)
            if sizes[code] >= evidence.options.min_group_size and group != NO_GROUP
        ]  # fmt: skip
        if len(counting) < 2:
            continue
        masks = np.stack([codes == code for code in counting])
        worst = _worst_mean(outcomes.values, masks, outcomes.direction)
        numbers.append(Comparable(metric=outcomes.worst.id, group=name, form=RowMetric(worst)))
    return numbers


def audit_groups(evidence: Evidence, cross: Sequence[Sequence[str]], stream: str) -> Findings:
    """Tells of worst groups that may be worst by chance, and of groups that are too small."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        return no_samples()
    figures = figures_by_partition(evidence, cross, stream)
    alpha = 1 - evidence.options.level
    by_chance = {
        name: found.worst
        for name, found in figures.items()
        if found.worst is not None
        and found.worst.p_chance is not None
        and found.worst.p_chance >= alpha
    }
    findings: Findings = []
    if by_chance:
        told = "; ".join(
            f"by {name}, {worst.name!r} at {worst.value:.3g} (n {worst.n}), p {worst.p_chance:.2g}"
            for name, worst in list(by_chance.items())[:_SHOWN]
        )
        more = f" and {len(by_chance) - _SHOWN} more" if len(by_chance) > _SHOWN else ""
        findings.append(
            Finding(
                code="worst-group-by-chance", severity=Severity.INFO,
                message=f"a group so far below the others comes about by chance: {told}{more}",
                evidence={
                    name: {
                        "group": worst.name, "value": worst.value, "n": worst.n,
                        "p_chance": worst.p_chance, "sureness": worst.sureness,
                        "upper": worst.interval.upper if worst.interval else None,
                    }
                    for name, worst in by_chance.items()
                },
            )
        )  # fmt: skip
    with_class = f"{class_column(cell.samples.groups.columns)}, "
    small = {
        name: sum(not group.counts for group in found.groups)
        for name, found in figures.items()
        if not name.startswith(with_class) and any(not group.counts for group in found.groups)
    }
    if small:
        told = ", ".join(f"{count} by {name}" for name, count in small.items())
        findings.append(
            Finding(
                code="groups-too-small", severity=Severity.INFO,
                message=f"groups of fewer than {evidence.options.min_group_size} samples, or of "
                f"unknown ones, are shown and in no figure over groups: {told}",
                evidence=small,
            )
        )  # fmt: skip
    return findings


def _worst_mean(
    values: Floats, masks: NDArray[np.bool_], direction: Literal["higher", "lower"]
) -> SumStatistic:
    """Returns the worst of several groups' means, masks (groups, n), as a statistic."""
    k = len(masks)
    columns = np.concatenate([masks * values, masks]).astype(np.float64)
    pick = np.nanmin if direction == "higher" else np.nanmax

    def of_sums(sums: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            means = sums[:, :k] / sums[:, k:]
        # A resample that leaves a group out says nothing of it.
        lost = np.isnan(means).all(axis=1)
        means[lost] = 0.0
        return np.where(lost, np.nan, pick(means, axis=1))

    return SumStatistic(columns, of_sums)


def _worst_of_all(found: dict[str, GroupFigures], outcomes: Outcomes, n: int, level: float) -> Row:
    """Returns the worst group of all columns and crossings.

    Its interval: those of all ways to split hold at once at a level that Bonferroni's correction
    widens, so the lowest of the true worst means lies between the lowest of their ends.
    """
    worst = {name: figures.worst for name, figures in found.items() if figures.worst is not None}
    if not worst:
        reason = "; ".join(sorted({figures.reason for figures in found.values()}))
        reason = reason or "the data names no group columns"
        return Row(metric=outcomes.worst.id, value=None, n=n, reason=reason)
    pick = min if outcomes.direction == "higher" else max
    name = pick(worst, key=lambda way: worst[way].value)
    intervals = [one.among for one in worst.values()]
    which = f"it is {worst[name].name}"
    ends = [one for one in intervals if one is not None]
    if len(ends) < len(intervals):
        return Row(
            metric=outcomes.worst.id, value=worst[name].value, n=worst[name].n, method=which,
            reason="some group shows no spread",
        )  # fmt: skip
    return Row(
        metric=outcomes.worst.id, value=worst[name].value, n=worst[name].n,
        lower=pick(one.lower for one in ends), upper=pick(one.upper for one in ends), level=level,
        method=f"{ends[0].method}-bonferroni; {which}",
    )  # fmt: skip


def _figure_rows(name: str, figures: GroupFigures, outcomes: Outcomes) -> list[Row]:
    worst = figures.worst
    if worst is None or figures.average is None or figures.percentile_10 is None:
        n = sum(group.n for group in figures.groups)
        return [
            Row(metric=metric.id, value=None, n=n, group=name, reason=figures.reason)
            for metric in (outcomes.worst, outcomes.average, outcomes.tenth)
        ]
    of_worst = Figure(value=worst.value, interval=worst.interval, n=worst.n)
    return [
        _figure_row(name, outcomes.worst, of_worst, f"it is {worst.name}"),
        _figure_row(name, outcomes.average, figures.average),
        _figure_row(name, outcomes.tenth, figures.percentile_10),
    ]


def _figure_row(name: str, metric: MetricInfo, figure: Figure, note: str = "") -> Row:
    interval = figure.interval
    if interval is None:
        return Row(
            metric=metric.id, value=figure.value, n=figure.n, group=name, method=note,
            reason="some group shows no spread, or clusters lie in several",
        )  # fmt: skip
    return Row(
        metric=metric.id, value=figure.value, n=figure.n, group=name,
        lower=max(interval.lower, metric.lower), upper=min(interval.upper, metric.upper),
        level=interval.level, method=interval.method + (f"; {note}" if note else ""),
    )  # fmt: skip


def _group_row(group: GroupMean, metric: MetricInfo) -> Row:
    marked = "" if group.counts else f"in no figure over groups: {group.why_not}"
    interval = group.interval
    if interval is None:
        return Row(
            metric=metric.id, value=group.value, n=group.n, group=group.name, method=marked,
            reason=group.reason,
        )  # fmt: skip
    return Row(
        metric=metric.id, value=group.value, n=group.n, group=group.name,
        lower=max(interval.lower, metric.lower), upper=min(interval.upper, metric.upper),
        level=interval.level, method=interval.method + (f"; {marked}" if marked else ""),
    )  # fmt: skip


def _worst_table(found: dict[str, GroupFigures]) -> pd.DataFrame:
    """Returns a line a way to split: its worst group, and how surely it is that."""
    lines = []
    for name, figures in found.items():
        worst = figures.worst
        if worst is None or figures.average is None or figures.percentile_10 is None:
            continue
        interval = worst.interval
        lines.append(
            {
                "groups by": name,
                "worst group": worst.name,
                "n": worst.n,
                "value": worst.value,
                "value_lower": None if interval is None else interval.lower,
                "value_upper": None if interval is None else interval.upper,
                "average": figures.average.value,
                "10th percentile": figures.percentile_10.value,
                "the worst again": worst.sureness,
                "p if all were equal": worst.p_chance,
                "groups": len(figures.groups),
                "too small": sum(not group.counts for group in figures.groups),
            }
        )
    return pd.DataFrame(lines)


def _group_table(found: dict[str, GroupFigures]) -> pd.DataFrame:
    """Returns a line a group."""
    lines = [
        {
            "groups by": name,
            "group": group.name,
            "n": group.n,
            "value": group.value,
            "value_lower": None if group.interval is None else group.interval.lower,
            "value_upper": None if group.interval is None else group.interval.upper,
            "left out": group.why_not,
        }
        for name, figures in found.items()
        for group in figures.groups
    ]
    return pd.DataFrame(lines)
