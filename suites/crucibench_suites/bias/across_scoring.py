"""Rows and tables of groups under what another suite does to the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.statistic import Value
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gap_change import Change, Largest, Paired, Side, change_of_largest, turned
from crucibench.stats import holm, mcnemar_exact, newcombe_paired
from crucibench_suites.bias.across_views import gaps_across, read_across
from crucibench_suites.bias.comparing import mean_influence
from crucibench_suites.bias.config import CLEAN
from crucibench_suites.bias.decisions import Bools, Ints, Measure
from crucibench_suites.bias.found import Found, why_uncompared
from crucibench_suites.bias.row_making import Number as RowNumber
from crucibench_suites.bias.row_making import undefined, with_interval
from crucibench_suites.bias.rows import gap_row, group_rows
from crucibench_suites.bias.scoring import gaps_of, widest_rows, worst_rows
from crucibench_suites.bias.tally import Tally
from crucibench_suites.bias.views import View

_SPANNING = "clusters lie in several groups, which are therefore not independent"


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
        reason: why there is no change.
    """

    metric: str
    of: str
    point: str
    group: str = ""
    columns: str = ""
    n: int = 0
    change: Change | None = None
    reason: str = ""

    def row(self) -> Row:
        """Returns it as a metric row."""
        value = Value(value=self.change.value if self.change else None, n=self.n,
                      reason=self.reason)  # fmt: skip
        number = RowNumber(metric=self.metric, value=value, group=self.group)
        if self.change is None:
            return replace(undefined(number), point=self.point)
        if self.change.interval is None:
            return Row(
                metric=self.metric, value=self.change.value, n=self.n, group=self.group,
                point=self.point, reason=self.change.reason,
            )  # fmt: skip
        return replace(with_interval(number, self.change.interval), point=self.point)


def score_across(
    evidence: Evidence, source: Scenario, parameters: Mapping[str, Any], stream: str
) -> Scored:
    """Scores what the outcomes of `source` say of groups."""
    if not len(evidence.own.samples):
        return Scored([])
    found = read_across(evidence, source, parameters)
    level = evidence.options.level
    gaps = gaps_across(evidence.task)
    rows: list[Row] = []
    at: dict[str, list[Found]] = {}
    for point, views in found.items():
        at[point] = gaps_of(evidence, views, f"{stream}/{point}", gaps)
        here = worst_rows(evidence, views) + widest_rows(views, at[point], level)
        here += [gap_row(one) for one in at[point]]
        for view in views:
            here += group_rows(view.grouping, list(view.measured.values()), level)
        rows += [replace(row, point=point) for row in here]
    rises = rises_of(evidence, found)
    rows += [rise.row() for rise in rises]
    return Scored(rows, {"across": _table(rises, at), "gap-curve": _curve(at)})


def rises_of(evidence: Evidence, found: Mapping[str, Sequence[View]]) -> list[Rise]:
    """Returns what became of every gap, of the worst group and of each group."""
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
    regression = evidence.task.one_number
    metric = "mae" if regression else "top-1"
    name = f"worst-group-{metric}-{'rise' if regression else 'drop'}"
    used = [(pair, pair[0].grouping.compared) for pair in pairs if not pair[0].grouping.too_many]
    used = [(pair, places) for pair, places in used if len(places)]
    of = f"worst-group-{metric}"
    if sum(len(places) for _, places in used) < 2:
        reason = "fewer than two groups have enough samples"
        return Rise(metric=name, of=of, point=point, reason=reason)
    largest: Largest = "highest" if regression else "lowest"
    parts = [_paired(metric, pair, places) for pair, places in used]
    change = _change([pair for pair, _ in used], parts, largest, evidence.options.level)
    if not regression:
        change = turned(change)
    return Rise(metric=name, of=of, point=point, n=len(evidence.own.samples), change=change)


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
    return replace(rise, n=n, change=_change(used, parts, "difference", level))


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


def _side(metric: str, view: View, places: Ints) -> Side:
    by_group = view.measured[metric].by_group
    influence = np.zeros(len(view.grouping.codes))
    for place in places:
        influence += mean_influence(view, metric, int(place))
    trials = by_group.trials[places] if isinstance(by_group, Tally) else None
    return Side(values=by_group.values[places], influence=influence, trials=trials)


def _table(rises: Sequence[Rise], at: Mapping[str, Sequence[Found]]) -> pd.DataFrame:
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


def _curve(at: Mapping[str, Sequence[Found]]) -> pd.DataFrame:
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
                    "lower": np.nan if one.interval is None else one.interval.lower,
                    "upper": np.nan if one.interval is None else one.interval.upper,
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
