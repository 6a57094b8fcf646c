"""Numbers and tables of subpopulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import CellEvidence, Evidence, Findings
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.statistic import (
    Extreme,
    Form,
    GroupMeans,
    Interval,
    Number,
    RowMetric,
    Share,
)
from crucibench.contracts.task import Task
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.metrics.groups import (
    GroupFigures,
    GroupMean,
    WorstGroup,
    crossed,
    group_figures,
    means_by_group,
)
from crucibench.stats import weighted_ratio
from crucibench.tasks.classification.view import Bools, Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers
from crucibench_suites.shift.names import class_column
from crucibench_suites.shift.numbers import mean_of

_TOGETHER = ", "
_SIDES: Mapping[str, Literal["higher", "lower"]] = {"higher": "higher", "lower": "lower"}
_SHOWN = 3


@dataclass(frozen=True)
class PassOutcomes:
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

    @cached_property
    def hits(self) -> Bools:
        """Which are right, shape (n,), where they are right or wrong."""
        return np.asarray(self.values == 1.0)

    @property
    def proportion(self) -> bool:
        """Whether they are right or wrong, so that means are shares."""
        return self.mean is metrics.TOP_1

    @property
    def direction(self) -> Literal["higher", "lower"]:
        """Which outcomes are better."""
        return _SIDES[self.mean.direction]


def outcomes_of(cell: CellEvidence, task: Task) -> PassOutcomes:
    """Reads a pass."""
    if task.one_class:
        right = clean_answers(cell, cell.samples.ids, task).correct.astype(np.float64)
        return PassOutcomes(
            right, metrics.TOP_1, metrics.WORST_GROUP, metrics.GROUP_AVERAGE, metrics.GROUP_TENTH
        )
    predictions = cell.records.aligned(cell.samples.ids).array("prediction").astype(np.float64)
    return PassOutcomes(
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


def splits_of(evidence: Evidence, cross: Sequence[Sequence[str]], stream: str) -> list[_Split]:
    """Returns the ways to split the needed pass with their figures, made once."""
    key = ("splits", stream, repr(cross))
    return evidence.once(key, lambda: _splits(evidence, cross, stream))


def _splits(evidence: Evidence, cross: Sequence[Sequence[str]], stream: str) -> list[_Split]:
    cell, options = evidence.needs["pass"], evidence.options
    outcomes = outcomes_of(cell, evidence.task)
    found = partitions(cell, evidence.task, cross)
    return [
        _Split(name, labels, outcomes, group_figures(
            labels, outcomes.values,
            min_group_size=options.min_group_size, direction=outcomes.direction,
            clusters=cell.samples.clusters, level=options.level, ways=len(found),
            seed=options.seed, stream=f"{stream}/{name}",
        ))
        for name, labels in found
    ]  # fmt: skip


def group_numbers(evidence: Evidence, cross: Sequence[Sequence[str]], stream: str) -> list[Number]:
    """Returns the mean over all samples, figures over groups, and each group's mean."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        return []
    splits = splits_of(evidence, cross, stream)
    outcomes = splits[0].outcomes if splits else outcomes_of(cell, evidence.task)
    everything = np.ones(len(outcomes.values), dtype=np.bool_)
    numbers = [
        Number(metric=outcomes.mean.id, make=partial(_mean_form, outcomes, everything)),
        _worst_of_all(splits, outcomes),
    ]
    shown: set[str] = set()
    for split in splits:
        numbers += _over_groups(split)
        # Two crossings may share a group, by columns of one value; it is one number.
        numbers += [
            _of_group(split, code, group)
            for code, group in enumerate(split.figures.groups)
            if group.name not in shown and group.name != NO_GROUP
        ]
        shown |= {group.name for group in split.figures.groups}
    return numbers


def group_tables(
    evidence: Evidence, cross: Sequence[Sequence[str]], stream: str
) -> dict[str, pd.DataFrame]:
    """Returns a line a way to split, and a line a group."""
    found = {split.name: split.figures for split in splits_of(evidence, cross, stream)}
    tables = {"worst-groups": _worst_table(found), "groups": _group_table(found)}
    return {name: table for name, table in tables.items() if len(table)}


def audit_groups(evidence: Evidence, scenario: Any) -> Findings:
    """Reports worst groups that may be worst by chance, and groups that are too small."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        return [no_samples("samples")]
    splits = splits_of(evidence, scenario.parameters["cross"], scenario.stream)
    figures = {split.name: split.figures for split in splits}
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
        listed = "; ".join(
            f"by {name}, {worst.name!r} at {worst.value:.3g} (n {worst.n}), p {worst.p_chance:.2g}"
            for name, worst in list(by_chance.items())[:_SHOWN]
        )
        more = f" and {len(by_chance) - _SHOWN} more" if len(by_chance) > _SHOWN else ""
        findings.append(
            Finding(
                code="worst-group-by-chance", severity=Severity.INFO,
                message=f"a group so far below the others comes about by chance: {listed}{more}",
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
        listed = ", ".join(f"{count} by {name}" for name, count in small.items())
        findings.append(
            Finding(
                code="groups-too-small", severity=Severity.INFO,
                message=f"groups of fewer than {evidence.options.min_group_size} samples, or of "
                f"unknown ones, are shown and in no figure over groups: {listed}",
                evidence=small,
            )
        )  # fmt: skip
    return findings


@dataclass(frozen=True)
class _Split:
    """One way to split the samples, and what was found.

    Attributes:
        name: of the partition.
        labels: each sample's group, shape (n,).
        outcomes: of the samples.
        figures: of all groups.
    """

    name: str
    labels: NDArray[np.object_]
    outcomes: PassOutcomes
    figures: GroupFigures

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """Each sample's place among `figures.groups`, which are sorted by name, shape (n,)."""
        return np.asarray(pd.factorize(self.labels, sort=True)[0], dtype=np.int64)

    @cached_property
    def means(self) -> GroupMeans:
        """The groups that count."""
        counts = np.array([group.counts for group in self.figures.groups])
        places = np.where(counts, np.cumsum(counts) - 1, -1)
        return GroupMeans(
            codes=places[self.codes], numbers=self.outcomes.values,
            among=np.ones(len(self.codes), dtype=np.bool_), groups=int(counts.sum()),
            proportion=self.outcomes.proportion,
        )  # fmt: skip


def _worst_of_all(splits: Sequence[_Split], outcomes: PassOutcomes) -> Number:
    """Returns the worst group of all columns and crossings.

    Its interval: those of all ways to split hold at once at a level that Bonferroni's correction
    widens, so the lowest of the true worst means lies between the lowest of their ends.
    """
    metric = outcomes.worst.id
    made = [(one, one.figures.worst) for one in splits if one.figures.worst is not None]
    if not made:
        reason = "; ".join(sorted({one.figures.reason for one in splits}))
        return Number(metric=metric, undefined=reason or "the data names no group columns")
    pick = min if outcomes.direction == "higher" else max
    worst = pick((found for _, found in made), key=lambda found: found.value)

    def closed(level: float) -> Interval | str:
        ends = [found.among for _, found in made if found.among is not None]
        if len(ends) < len(made):
            return "some group shows no spread"
        return Interval(
            pick(one.lower for one in ends), pick(one.upper for one in ends), level,
            f"{ends[0].method}-bonferroni",
        )  # fmt: skip

    return Number(
        metric=metric, make=partial(_worst_form, [one.means for one, _ in made], outcomes, closed),
        n=worst.n, note=_which(worst),
    )  # fmt: skip


def _which(worst: WorstGroup) -> str:
    if worst.if_alike is None:
        return f"it is {worst.name}"
    return f"it is {worst.name}; of groups that are alike the worst would show {worst.if_alike:.3g}"


def _over_groups(split: _Split) -> list[Number]:
    """Returns the worst group, the average and the percentile of one way to split."""
    outcomes, figures, means = split.outcomes, split.figures, split.means
    worst, average, tenth = figures.worst, figures.average, figures.percentile_10
    if worst is None or average is None or tenth is None:
        n = sum(group.n for group in figures.groups)
        return [
            Number(metric=metric.id, group=split.name, undefined=figures.reason, n=n)
            for metric in (outcomes.worst, outcomes.average, outcomes.tenth)
        ]
    by_group, share = means_by_group(means), 10.0 if outcomes.direction == "higher" else 90.0

    def percentile(weights: Floats) -> Floats:
        return np.asarray(np.percentile(by_group(weights), share, axis=1))

    return [
        Number(
            metric=outcomes.worst.id, group=split.name, n=worst.n, note=_which(worst),
            make=partial(_worst_form, [means], outcomes, partial(_known, worst.interval)),
        ),
        Number(
            metric=outcomes.average.id, group=split.name, n=average.n,
            make=lambda: RowMetric(
                lambda weights: np.asarray(by_group(weights).mean(axis=1)),
                closed=partial(_known, average.interval), closed_by_cluster=True,
            ),
        ),
        Number(
            metric=outcomes.tenth.id, group=split.name, n=tenth.n,
            make=lambda: RowMetric(
                percentile, closed=partial(_known, tenth.interval), closed_by_cluster=True
            ),
        ),
    ]  # fmt: skip


def _of_group(split: _Split, code: int, group: GroupMean) -> Number:
    closed = partial(_known, group.interval, reason=group.reason)
    return Number(
        metric=split.outcomes.mean.id, group=group.name, n=group.n,
        make=lambda: _mean_form(split.outcomes, split.codes == code, closed),
        note="" if group.counts else f"in no figure over groups: {group.why_not}",
    )  # fmt: skip


def _known(
    interval: Interval | None, level: float,
    reason: str = "some group shows no spread, or clusters lie in several",
) -> Interval | str:  # fmt: skip
    """Returns an interval that was made with the figures, at their level."""
    return reason if interval is None else interval


def _mean_form(
    outcomes: PassOutcomes, among: Bools, closed: Callable[[float], Interval | str] | None = None
) -> Form:
    """Returns the mean outcome of some samples, shape (n,), bool."""
    if outcomes.proportion:
        return Share(outcomes.hits, among, closed_by_cluster=closed)
    if closed is None:
        return mean_of(outcomes.values)
    return RowMetric(
        weighted_ratio(outcomes.values * among, among), closed=closed, closed_by_cluster=True
    )


def _worst_form(
    parts: Sequence[GroupMeans], outcomes: PassOutcomes, closed: Callable[[float], Interval | str]
) -> RowMetric:
    """Returns the worst mean of the groups of some partitions."""
    means = [means_by_group(part) for part in parts]
    # A resample that leaves a group out does not count it.
    pick = np.nanmin if outcomes.direction == "higher" else np.nanmax

    def of_rows(weights: Floats) -> Floats:
        every = np.concatenate([of(weights) for of in means], axis=1)
        return np.asarray(pick(every, axis=1))

    return RowMetric(
        of_rows, bias="up", cost=2 * len(parts), closed=closed, closed_by_cluster=True,
        extreme=Extreme(tuple(parts), "lowest" if outcomes.direction == "higher" else "highest"),
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
