"""Numbers, tables and audit of groups under what another suite does to the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Findings, OutcomeView
from crucibench.contracts.outcomes import read_outcomes
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.statistic import Number, OfRows, RowMetric
from crucibench.contracts.task import Task
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.catalogue_across import RISES
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gap_change import (
    Change,
    GapSide,
    Largest,
    Paired,
    change_of_largest,
    turned,
)
from crucibench.metrics.scoring import cluster_codes
from crucibench.stats import holm, mcnemar_exact, newcombe_paired
from crucibench.tasks.classification.view import ClassView
from crucibench_suites.bias.config import CLEAN
from crucibench_suites.bias.gaps import GroupGap, why_uncompared
from crucibench_suites.bias.groupings import groupings
from crucibench_suites.bias.measures import (
    Bools,
    Ints,
    Measure,
    SampleNumber,
    Tally,
    View,
    binary_measures,
    error_measures,
)
from crucibench_suites.bias.numbers import (
    mean_influence,
    mean_of_weights,
    widest_of_weights,
    worst_of_weights,
)
from crucibench_suites.bias.scoring import (
    NUMBER_GAPS,
    compared_numbers,
    gaps_of,
    measures_of,
    uncompared_group_numbers,
    wanted_gaps,
)

_SPANNING = "clusters lie in several groups, which are therefore not independent"

_CHANCE = 0.05

_ACCURACY = "top-1-difference"

_MEASURED = ("top-1", "selection-rate", "tpr", "fpr", "ppv", "mae", "mean-error", "mean-prediction")

Views = dict[str, list[View]]
"""Point to the groupings of what was answered there; `CLEAN` comes first."""


def gaps_across(task: Task) -> Sequence[Gap]:
    """Returns the gaps that are made at each point."""
    if task.one_number:
        return NUMBER_GAPS
    return [gap for gap in wanted_gaps(task) if gap.id in RISES]


def read_across(evidence: Evidence, source: Scenario, parameters: Mapping[str, Any]) -> Views:
    """Reads the answers to the samples as they are and at each point of the source.

    Raises:
        ValueError: if the source has not one outcome of each sample at a point.
    """
    samples, task = evidence.own.samples, evidence.task
    own = task.definition.view(replace(evidence.needs[CLEAN], samples=samples), task)
    measured = {CLEAN: measures_of(task, own)}
    view = read_outcomes(source, evidence)
    for point, rows in _rows(view, samples.ids).items():
        if task.one_number:
            values = view.prediction[rows].astype(np.float64)
            measured[point] = error_measures(values, own.targets)
        else:
            measured[point] = _class_measures(own, view, rows)
    groups = groupings(samples.groups, parameters, evidence.options.min_group_size)
    clusters = cluster_codes(samples.clusters)
    return {
        point: [
            View.of(
                grouping,
                () if grouping.too_many else [one for one in found if one.id in _MEASURED],
                clusters,
            )
            for grouping in groups
        ]
        for point, found in measured.items()
    }


def _class_measures(
    own: ClassView, view: OutcomeView, rows: Ints
) -> Sequence[Measure | SampleNumber]:
    """Returns the measures of one point; what is right is as the source says."""
    there = ClassView(
        names=own.names, targets=own.targets, predictions=view.prediction[rows].astype(np.int64),
        classes=own.classes, positive=own.positive,
    )  # fmt: skip
    correct = Measure("top-1", np.asarray(view.correct[rows] == 1.0))
    return (correct, *(one for one in binary_measures(there) if one.id != correct.id))


def _rows(view: OutcomeView, ids: NDArray[np.object_]) -> dict[str, Ints]:
    """Returns the rows of each point, in the order of the samples."""
    found = {}
    for point in dict.fromkeys(view.point.tolist()):
        here = np.flatnonzero(view.point == point)
        index = pd.Index(view.ids[here])
        places = index.get_indexer(pd.Index(ids)) if index.is_unique else np.array([-1])
        if (places < 0).any():
            raise ValueError(f"point {point!r}: expected one outcome of each of {len(ids)} samples")
        found[str(point)] = here[places]
    return found


@dataclass(frozen=True, kw_only=True)
class Rise:
    """What became of a number of groups from the samples as they are to a point.

    Attributes:
        metric: the id of the change.
        of: the id of the gap, or of the worst group's number.
        point: the source's point.
        group: the columns, or one group; "" for the widest of the columns and for the worst group.
        columns: of the grouping; "" likewise.
        n: samples behind it.
        change: None with its `reason`.
        of_rows: the change as a function of weights.
        reason: why there is no change.
    """

    metric: str
    of: str
    point: str
    group: str = ""
    columns: str = ""
    n: int = 0
    change: Change | None = None
    of_rows: OfRows | None = None
    reason: str = ""

    def number(self) -> Number:
        """Returns it as a number of the samples."""
        change, form = self.change, None
        if change is not None and self.of_rows is not None:
            found = change.reason if change.interval is None else change.interval
            form = RowMetric(self.of_rows, closed=lambda _: found, closed_by_cluster=True)
        return Number(
            metric=self.metric, point=self.point, group=self.group, n=self.n,
            make=None if form is None else lambda: form, undefined=self.reason,
        )  # fmt: skip


def measure_across(
    evidence: Evidence, source: Scenario, parameters: Mapping[str, Any], stream: str
) -> tuple[Views, dict[str, list[GroupGap]]]:
    """Returns groupings and gaps by point, measured once for numbers and tables."""

    def measure() -> tuple[Views, dict[str, list[GroupGap]]]:
        views, gaps = read_across(evidence, source, parameters), gaps_across(evidence.task)
        return views, {
            point: gaps_of(evidence, here, f"{stream}/{point}", gaps)
            for point, here in views.items()
        }

    return evidence.once(("across", stream, repr(parameters)), measure)


def numbers_across(task: Task, views: Views, gaps: Mapping[str, list[GroupGap]]) -> list[Number]:
    """Returns worst groups, differences and rates by group at each point."""
    return [
        replace(one, point=point)
        for point, here in views.items()
        for one in compared_numbers(task, here, gaps[point], complements=False)
    ]


def other_numbers_across(evidence: Evidence, views: Views) -> list[Number]:
    """Returns metrics of groups that are not compared, and what became of gaps and groups."""
    found = [
        replace(one, point=point)
        for point, here in views.items()
        for one in uncompared_group_numbers(here)
    ]
    return [*found, *(rise.number() for rise in rises_of(evidence, views))]


def tables_across(
    evidence: Evidence, views: Views, gaps: Mapping[str, list[GroupGap]]
) -> dict[str, pd.DataFrame]:
    """Returns each gap's change, and the accuracy difference by strength."""
    return {"across": _table(rises_of(evidence, views), gaps), "gap-curve": _curve(gaps)}


def rises_of(evidence: Evidence, found: Mapping[str, Sequence[View]]) -> list[Rise]:
    """Returns what became of every gap, of the worst group and of each group, measured once."""
    return evidence.once(("rises", evidence.own.cell), partial(_rises, evidence, found))


def _rises(evidence: Evidence, found: Mapping[str, Sequence[View]]) -> list[Rise]:
    clean, level = found[CLEAN], evidence.options.level
    rises: list[Rise] = []
    for point, views in found.items():
        if point == CLEAN:
            continue
        pairs = list(zip(views, clean, strict=True))
        rises.append(_worst(evidence, point, pairs))
        for gap in gaps_across(evidence.task):
            single = [pair for pair in pairs if len(pair[0].grouping.columns) == 1]
            rises.append(_gap(gap, point, "", single, level))
            rises += [_gap(gap, point, now.grouping.title, [(now, was)], level)
                      for now, was in pairs]  # fmt: skip
        for now, was in pairs:
            rises += _by_group(point, now, was, level)
    return rises


Pair = tuple[View, View]
"""There, and as the samples are."""


def _worst(evidence: Evidence, point: str, pairs: Sequence[Pair]) -> Rise:
    higher = evidence.task.one_class
    metric = "top-1" if higher else "mae"
    name = f"worst-group-{metric}-{'drop' if higher else 'rise'}"
    used = [(pair, pair[0].grouping.compared) for pair in pairs if not pair[0].grouping.too_many]
    used = [(pair, places) for pair, places in used if len(places)]
    of = f"worst-group-{metric}"
    if sum(len(places) for _, places in used) < 2:
        reason = "fewer than two groups have enough samples"
        return Rise(metric=name, of=of, point=point, reason=reason)
    largest: Largest = "lowest" if higher else "highest"
    parts = [_paired(metric, pair, places) for pair, places in used]
    change = _change([pair for pair, _ in used], parts, largest, evidence.options.level)
    now, was = (
        worst_of_weights(metric, [pair[side] for pair, _ in used], lower_is_worse=higher)
        for side in (0, 1)
    )
    return Rise(
        metric=name, of=of, point=point, n=len(evidence.own.samples),
        change=turned(change) if higher else change,
        of_rows=_less(was, now) if higher else _less(now, was),
    )  # fmt: skip


def _less(first: OfRows, second: OfRows) -> OfRows:
    return lambda weights: np.asarray(first(weights) - second(weights))


def _gap(gap: Gap, point: str, group: str, pairs: Sequence[Pair], level: float) -> Rise:
    rise = Rise(metric=f"{gap.id}-rise", of=gap.id, point=point, group=group, columns=group)
    parts, used, n = [], [], 0
    reason = ""
    for pair in pairs:
        if why := why_uncompared(pair[0].grouping) or _why_not(gap, pair):
            reason = reason or why
            continue
        for rate in gap.rates:
            places = pair[0].measured[rate].defined(pair[0].grouping.compared)
            parts.append(_paired(rate, pair, places))
            n += pair[0].measured[rate].n(places)
        used.append(pair)
    if not used:
        reason = reason if len(pairs) == 1 else "no column has two groups to compare in both"
        return replace(rise, reason=reason)
    now, was = (widest_of_weights([(gap, pair[side]) for pair in used]) for side in (0, 1))
    change = _change(used, parts, "difference", level)
    return replace(rise, n=n, change=change, of_rows=_less(now, was))


def _why_not(gap: Gap, pair: Pair) -> str:
    now, was = pair
    for rate in gap.rates:
        there, here = (view.measured[rate].defined(view.grouping.compared) for view in (now, was))
        if not np.array_equal(there, here):
            return f"other groups have a defined {rate} there than on the samples as they are"
        if len(there) < 2:
            return f"fewer than two groups have a defined {rate}"
    return ""


def _by_group(point: str, now: View, was: View, level: float) -> list[Rise]:
    if "top-1" not in now.measured:
        return []
    grouping = now.grouping
    found = []
    for place in grouping.compared:
        change = _lost(now, was, int(place), level)
        found.append(
            Rise(
                metric="group-top-1-drop", of="top-1", point=point, group=grouping.names[place],
                columns=grouping.title, n=int(grouping.sizes[place]), change=change,
                of_rows=_less(*(mean_of_weights(view, "top-1", int(place)) for view in (was, now))),
            )
        )  # fmt: skip
    return found


def _lost(now: View, was: View, place: int, level: float) -> Change:
    """Returns the accuracy that one group loses."""
    if now.clusters is not None:
        part = _paired("top-1", (now, was), np.array([place]))
        return turned(change_of_largest([part], "highest", clusters=now.clusters, level=level))
    inside = now.grouping.codes == place
    hit, held = (_hits(view)[inside] for view in (was, now))
    lost, won = int((hit & ~held).sum()), int((held & ~hit).sum())
    both, n = int((hit & held).sum()), len(hit)
    interval = newcombe_paired(both, lost, won, n - both - lost - won, level)
    return Change((lost - won) / n, interval, mcnemar_exact(lost, won))


def _hits(view: View) -> Bools:
    measure = view.measures["top-1"]
    assert isinstance(measure, Measure)
    return measure.hits


def _change(
    pairs: Sequence[Pair], parts: Sequence[Paired], largest: Largest, level: float
) -> Change:
    clusters = pairs[0][0].clusters
    found = change_of_largest(parts, largest, clusters=clusters, level=level)
    if any(now.spans for now, _ in pairs):
        return found._replace(interval=None, p=float("nan"), reason=_SPANNING)
    return found


def _paired(metric: str, pair: Pair, places: Ints) -> Paired:
    """Returns a metric of some groups, there and as the samples are."""
    codes = np.full(len(pair[0].grouping.codes), -1, dtype=np.int64)
    for place, group in enumerate(places):
        codes[pair[0].grouping.codes == group] = place
    new, old = (_side(metric, view, places) for view in pair)
    return Paired(codes=codes, new=new, old=old)


def _side(metric: str, view: View, places: Ints) -> GapSide:
    by_group = view.measured[metric].by_group
    influence = np.zeros(len(view.grouping.codes))
    for place in places:
        influence += mean_influence(view, metric, int(place))
    trials = by_group.trials[places] if isinstance(by_group, Tally) else None
    return GapSide(values=by_group.values[places], influence=influence, trials=trials)


def _table(rises: Sequence[Rise], at: Mapping[str, Sequence[GroupGap]]) -> pd.DataFrame:
    """Returns each gap's change, as it is and there, with its corrected p-value."""
    shown = [
        rise for rise in rises if rise.change is not None and rise.group and rise.of != "top-1"
    ]
    values = {
        (point, one.grouping.title, one.gap.id): one for point, found in at.items() for one in found
    }
    rows = []
    for rise, p in zip(shown, corrected(shown), strict=True):
        change = rise.change
        assert change is not None
        interval = change.interval
        there = values[rise.point, rise.group, rise.of]
        rows.append(
            {
                "point": rise.point,
                "columns": rise.group,
                "gap": metric_info(rise.of).name,
                "as_they_are": values[CLEAN, rise.group, rise.of].value,
                "there": there.value,
                "rise": change.value,
                "rise_lower": np.nan if interval is None else interval.lower,
                "rise_upper": np.nan if interval is None else interval.upper,
                "p_holm": round(p, 4),
                "highest": there.highest,
                "lowest": there.lowest,
            }
        )
    return pd.DataFrame(rows)


def corrected(rises: Sequence[Rise]) -> list[float]:
    """Returns Holm's p-values of changes, one family; nan where there is none."""
    p = np.array([np.nan if one.change is None else one.change.p for one in rises])
    tested = np.isfinite(p)
    p[tested] = holm(p[tested])
    return [float(value) for value in p]


def _curve(at: Mapping[str, Sequence[GroupGap]]) -> pd.DataFrame:
    """Returns the accuracy difference of each column by strength, where points are numbers."""
    rows = []
    for point, found in at.items():
        strength = _strength(point)
        for one in found:
            if strength is None or one.gap.id != "top-1-difference" or one.value is None:
                continue
            if len(one.grouping.columns) > 1:
                continue
            rows.append(
                {
                    "columns": one.grouping.title,
                    "strength": strength,
                    "accuracy_difference": one.value,
                    "lower": one.lower,
                    "upper": one.upper,
                }
            )
    return pd.DataFrame(rows if len({row["strength"] for row in rows}) > 1 else [])


def _strength(point: str) -> float | None:
    if point == CLEAN:
        return 0.0
    try:
        return float(point.partition("=")[2])
    except ValueError:
        return None


def audit_across(evidence: Evidence, scenario: Any) -> Findings:
    """Says where the groups' accuracies move apart beyond chance, and which group loses most."""
    if not len(evidence.own.samples):
        return [no_samples()]
    views, _ = measure_across(evidence, scenario.source, scenario.parameters, scenario.stream)
    rises = rises_of(evidence, views)
    tested = [rise for rise in rises if rise.of == _ACCURACY and rise.group]
    grown = [
        (rise, p)
        for rise, p in zip(tested, corrected(tested), strict=True)
        if rise.change is not None and rise.change.value > 0 and p < _CHANCE
    ]
    findings = []
    for columns in dict.fromkeys(rise.group for rise, _ in grown):
        worst, p = max(
            (pair for pair in grown if pair[0].group == columns),
            key=lambda pair: pair[0].change.value if pair[0].change else 0.0,
        )
        findings.append(_finding(worst, p, rises))
    return findings


def _finding(rise: Rise, p: float, rises: list[Rise]) -> Finding:
    assert rise.change is not None
    lost = [
        (one.change.value, one.group)
        for one in rises
        if one.of == "top-1" and (one.point, one.columns) == (rise.point, rise.columns)
        and one.change is not None
    ]  # fmt: skip
    most, least = max(lost), min(lost)
    return Finding(
        code="gap-grows",
        severity=Severity.INFO,
        message=f"{rise.point or 'there'}: the groups of {rise.group} lie "
        f"{rise.change.value:.2g} further apart in accuracy than on the samples as they are (p "
        f"{p:.2g} by Holm): {most[1]!r} loses {most[0]:.2g}, {least[1]!r} {least[0]:.2g}",
        evidence={
            "columns": rise.group, "point": rise.point, "rise": rise.change.value, "p_holm": p,
            "loses_most": most[1], "loses_least": least[1],
        },
    )  # fmt: skip
