"""Metric rows of groups, of contrasts between them and of gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Value
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gaps import contrast
from crucibench.stats import Interval
from crucibench_suites.bias.found import Found, Measured, interval_of
from crucibench_suites.bias.groupings import Grouping
from crucibench_suites.bias.row_making import Number, undefined, with_interval
from crucibench_suites.bias.tally import Tally


def row(number: Number, interval: Interval | None, reason: str = "") -> Row:
    """Returns one number as a row, with its interval or the reason why it has none."""
    if number.value.value is None:
        return undefined(number)
    if interval is not None:
        return with_interval(number, interval)
    return Row(
        metric=number.metric, value=number.value.value, n=number.value.n, reason=reason,
        group=number.group, method=number.suffix,
    )  # fmt: skip


def _nothing(metric: str, group: str, reason: str, n: int = 0) -> Row:
    return undefined(
        Number(metric=metric, group=group, value=Value(value=None, n=n, reason=reason))
    )


def group_rows(grouping: Grouping, measured: Sequence[Measured], level: float) -> list[Row]:
    """Returns every metric of every group; those not compared are marked in the interval's method.

    Small intersections have no rows: there may be hundreds, and the table of groups counts them.
    """
    if grouping.too_many:
        return []
    rows = []
    single = len(grouping.columns) == 1
    for place in range(len(grouping)) if single else grouping.compared:
        name, why_not = grouping.shown(place), grouping.why_not[place]
        note = f"not compared: {why_not}" if why_not else ""
        for one in measured:
            rows.append(_group_row(one, place, name, level, note))
    return rows


def bounds_of(one: Measured, place: int, level: float) -> tuple[float, float] | None:
    """Returns the interval of a group's value; None where it has none."""
    here = np.array([place])
    if not (np.isfinite(one.by_group.values[place]) and one.precise(here)):
        return None
    low, high = one.by_group.estimates(here).bounds((1 - level) / 2)
    return float(low[0]), float(high[0])


def _group_row(one: Measured, place: int, name: str, level: float, note: str) -> Row:
    value, n = one.by_group.values[place], one.n(np.array([place]))
    if not np.isfinite(value):
        return _nothing(one.id, name, one.undefined, n)
    number = Number(metric=one.id, group=name, value=Value(value=float(value), n=n), suffix=note)
    bounds = bounds_of(one, place, level)
    if bounds is None:
        return row(number, None, "too little spread for an interval")
    method = one.by_group.method if isinstance(one.by_group, Tally) else "student-t"
    return row(number, Interval(*bounds, level, method))


def contrast_row(
    metric: str, group: str, one: Measured, own: int, other: int, *, level: float
) -> Row:
    """Returns a group's value less that of the samples it is held against.

    Args:
        metric: the contrast's id.
        group: the group's name.
        one: the numbers of both.
        own: the group's place in them.
        other: that of what it is held against.
        level: of the interval.
    """
    both = np.array([own, other])
    values, n = one.by_group.values[both], one.n(both)
    if not np.isfinite(values).all():
        whose = "the group" if not np.isfinite(values[0]) else "what it is held against"
        return _nothing(metric, group, f"{one.undefined} in {whose}", n)
    found = Number(metric=metric, group=group, value=Value(value=float(values[0] - values[1]), n=n))
    if not one.precise(both):
        return row(found, None, "too little spread for an interval")
    first, second = (one.by_group.estimates(both[[place]]) for place in (0, 1))
    together = one.by_group.estimates(both).correlation
    correlation = 0.0 if together is None else float(together[0, 1])
    ((_, interval),) = contrast(first, second, "difference", level, correlation)
    if isinstance(one.by_group, Tally) and not one.by_group.clustered:
        interval = interval._replace(method="newcombe-unpaired")
    return row(found, interval)


def gap_row(found: Found) -> Row:
    """Returns a gap as a row; its group names the columns."""
    if found.value is None:
        return _nothing(found.gap.id, found.grouping.title, found.reason)
    number = Number(
        metric=found.gap.id, group=found.grouping.title,
        value=Value(value=found.value, n=found.n), suffix=found.note,
    )  # fmt: skip
    return row(number, found.interval, found.reason)


def widest_row(gap: Gap, found: Sequence[Found], *, level: float) -> Row:
    """Returns the worst gap of all single columns, as a row without a group.

    Its interval holds whichever column that is: all columns' pairs are taken together.
    """
    made = [one for one in found if one.value is not None]
    if not made:
        reason = found[0].reason if len(found) == 1 else "no column has two groups to compare"
        return _nothing(gap.id, "", reason)
    pick = max if gap.kind == "difference" else min
    worst = pick(made, key=lambda one: one.value or 0.0)
    parts = [part for one in made for part in one.parts]
    interval, why = interval_of(parts, gap, level)
    note = f"of {len(found)} columns: {worst.grouping.title}" if len(found) > 1 else worst.note
    number = Number(metric=gap.id, value=Value(value=worst.value, n=worst.n), suffix=note)
    return row(number, interval, why)


def worst_row(
    metric: str, groups: Sequence[tuple[Grouping, Measured]], *, lower_is_worse: bool, level: float
) -> Row:
    """Returns the worst group's value of all groups of all groupings, as a row without a group.

    The interval is one of the worst of the true values, whichever group has it: see
    `crucibench.metrics.groups.group_figures`.
    """
    sign = 1.0 if lower_is_worse else -1.0
    values, lows, highs, names, counts, precise = [], [], [], [], [], True
    tail = (1 - level) / 2
    pools = [
        (grouping, one, one.defined(grouping.compared))
        for grouping, one in groups
        if not grouping.too_many
    ]
    k = sum(len(places) for _, _, places in pools)
    for grouping, one, places in pools:
        if not len(places):
            continue
        values += one.by_group.values[places].tolist()
        names += [grouping.names[place] for place in places]
        counts += [one.n(np.array([place])) for place in places]
        precise &= one.precise(places)
        if precise:
            # One-sided at the bad end, all at once at the good one.
            bad, good = (one.by_group.estimates(places).bounds(t) for t in (tail, tail / k))
            lows += (bad if lower_is_worse else good)[0].tolist()
            highs += (good if lower_is_worse else bad)[1].tolist()
    if k < 2:
        reason = "fewer than two groups have enough samples"
        return _nothing(metric, "", reason)
    place = int(np.argmin(sign * np.array(values)))
    interval = None
    if precise:
        pick = min if lower_is_worse else max
        interval = Interval(pick(lows), pick(highs), level, "bounds-of-the-worst")
    number = Number(
        metric=metric, value=Value(value=values[place], n=counts[place]),
        suffix=f"{names[place]}, worst of {k} groups",
    )  # fmt: skip
    return row(number, interval, "a group shows too little spread for an interval")


def renamed(found: Sequence[Row], group: str) -> list[Row]:
    """Returns rows as those of a group."""
    return [replace(one, group=group) for one in found]
