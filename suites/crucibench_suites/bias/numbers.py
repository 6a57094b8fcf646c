"""Numbers of groups, of contrasts between groups and of gaps, as statistics of the samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.statistic import (
    Extreme,
    Form,
    GroupMeans,
    Number,
    OfRows,
    RowMetric,
    Share,
)
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gaps import contrast, gap_of
from crucibench.metrics.groups import means_by_group
from crucibench.stats import Interval
from crucibench_suites.bias.gaps import GroupGap, interval_of
from crucibench_suites.bias.measures import (
    Bools,
    Floats,
    Ints,
    Measure,
    Measured,
    SampleNumber,
    Tally,
    View,
)

CONTRASTED = ("top-1", "selection-rate", "tpr", "fpr", "ppv", "mae", "mean-error")
"""Metrics whose groups are held against the rest or a reference."""

_MODEL_S = {"ppv", "npv"}
"""Rates whose denominator depends on the model."""

_NO_SPREAD = "too little spread for an interval"


def group_numbers(view: View, metrics: Iterable[str], places: Iterable[int]) -> list[Number]:
    """Returns metrics of some groups; what is not compared says so in its interval's method."""
    return [_of_group(view, metric, int(place)) for place in places for metric in metrics]


def shown_groups(view: View) -> Iterable[int]:
    """Returns the groups that have rows: of an intersection those that are compared.

    There may be hundreds of small intersections; the table of groups counts them.
    """
    if view.grouping.too_many:
        return ()
    single = len(view.grouping.columns) == 1
    return range(len(view.grouping)) if single else view.grouping.compared.tolist()


def _of_group(view: View, metric: str, place: int) -> Number:
    grouping, one, measure = view.grouping, view.measured[metric], view.measures[metric]
    name, why_not = grouping.shown(place), grouping.why_not[place]
    n = one.n(np.array([place]))
    if not np.isfinite(one.by_group.values[place]):
        return Number(metric=one.id, group=name, undefined=one.undefined, n=n)

    def make() -> Form:
        closed = partial(_group_interval, one, place)
        if isinstance(measure, Measure):
            _, among = sample_values(measure, np.asarray(grouping.codes == place))
            same = metric not in _MODEL_S
            return Share(measure.hits & among, among, same, closed_by_cluster=closed)
        return RowMetric(
            mean_of_weights(view, metric, place), partial(mean_influence, view, metric, place),
            closed=closed, closed_by_cluster=True,
        )  # fmt: skip

    note = f"not compared: {why_not}" if why_not else ""
    return Number(metric=one.id, group=name, make=make, n=n, note=note)


def bounds_of(one: Measured, place: int, level: float) -> tuple[float, float] | None:
    """Returns the interval of a group's value; None where it has none."""
    here = np.array([place])
    if not (np.isfinite(one.by_group.values[place]) and one.precise(here)):
        return None
    low, high = one.by_group.estimates(here).bounds((1 - level) / 2)
    return float(low[0]), float(high[0])


def _group_interval(one: Measured, place: int, level: float) -> Interval | str:
    bounds = bounds_of(one, place, level)
    method = one.by_group.method if isinstance(one.by_group, Tally) else "student-t"
    return _NO_SPREAD if bounds is None else Interval(*bounds, level, method)


def contrast_numbers(view: View) -> list[Number]:
    """Returns each compared group less the reference, or less all other samples."""
    grouping = view.grouping
    if grouping.too_many or len(grouping.compared) < 2:
        return []
    reference = None
    if grouping.reference:
        if grouping.reference not in grouping.names:
            return []
        reference = grouping.names.index(grouping.reference)
    found = []
    for place in grouping.compared:
        if place == reference:
            continue
        sides = grouping.sides(place, reference)
        which = "rest" if reference is None else "reference"
        found += [
            _contrast(f"{metric}-minus-{which}", grouping.names[place], view, metric, sides)
            for metric in CONTRASTED
            if metric in view.measured
        ]
    return found


def _contrast(name: str, group: str, view: View, metric: str, sides: Ints) -> Number:
    """Returns the value of the groups of side 0 less that of the groups of side 1."""
    both = np.arange(2)
    one = view.merged(metric, sides)
    values, n = one.by_group.values, one.n(both)
    if not np.isfinite(values).all():
        whose = "the group" if not np.isfinite(values[0]) else "what it is held against"
        return Number(metric=name, group=group, undefined=f"{one.undefined} in {whose}", n=n)

    def closed(level: float) -> Interval | str:
        if not one.precise(both):
            return _NO_SPREAD
        first, second = (one.by_group.estimates(both[[place]]) for place in both)
        together = one.by_group.estimates(both).correlation
        correlation = 0.0 if together is None else float(together[0, 1])
        ((_, interval),) = contrast(first, second, "difference", level, correlation)
        if isinstance(one.by_group, Tally) and not one.by_group.clustered:
            interval = interval._replace(method="newcombe-unpaired")
        return interval

    def compute(weights: Floats) -> Floats:
        codes = sides.astype(np.int8)[view.grouping.codes]
        found = means_by_group(_measured_means(view.measures[metric], codes, 2))(weights)
        return np.asarray(found[:, 0] - found[:, 1])

    value = float(values[0] - values[1]) if isinstance(one.by_group, Tally) else None
    form = RowMetric(compute, closed=closed, closed_by_cluster=True, value=value)
    return Number(metric=name, group=group, make=lambda: form, n=n)


def gap_number(one: GroupGap, view: View) -> Number:
    """Returns a gap between the groups of a view; its group names the columns."""
    title = one.grouping.title
    if one.value is None:
        return Number(metric=one.gap.id, group=title, undefined=one.reason, n=0)
    return Number(
        metric=one.gap.id, group=title, make=partial(widest_form, [(one, view)]), n=one.n,
        note=_note(one),
    )  # fmt: skip


def _note(one: GroupGap) -> str:
    noise = "" if math.isnan(one.less_noise) else f"{one.less_noise:.3g} without what noise adds"
    return "; ".join(filter(None, [one.note, noise]))


def widest_number(gap: Gap, gaps: Sequence[tuple[GroupGap, View]]) -> Number:
    """Returns the worst gap of all single columns, as a number without a group.

    Its interval holds whichever column that is: all columns' pairs are taken together.
    """
    made = [(one, view) for one, view in gaps if one.value is not None]
    if not made:
        reason = gaps[0][0].reason if len(gaps) == 1 else "no column has two groups to compare"
        return Number(metric=gap.id, undefined=reason, n=0)
    pick = max if gap.kind == "difference" else min
    worst = pick((one for one, _ in made), key=lambda one: one.value or 0.0)
    note = f"of {len(gaps)} columns: {worst.grouping.title}" if len(gaps) > 1 else ""
    note = "; ".join(filter(None, [note, _note(worst)]))
    return Number(metric=gap.id, make=partial(widest_form, made), n=worst.n, note=note)


def widest_form(gaps: Sequence[tuple[GroupGap, View]]) -> RowMetric:
    """Returns the widest of gaps that are defined, one a grouping."""
    gap = gaps[0][0].gap
    parts = [part for one, _ in gaps for part in one.parts]
    cost = 2 * sum(len(one.gap.rates) for one, _ in gaps)
    closed = partial(interval_of, parts, gap)
    of_rows = widest_of_weights([(one.gap, view) for one, view in gaps])
    value = None
    if all(isinstance(measured.by_group, Tally) for measured, _ in parts):
        value = (max if gap.kind == "difference" else min)(one.value or 0.0 for one, _ in gaps)
    if gap.kind == "ratio":
        return RowMetric(of_rows, cost=cost, closed=closed, closed_by_cluster=True, value=value)

    def influence() -> Floats:
        values = [one.value or 0.0 for one, _ in gaps]
        one, view = gaps[int(np.argmax(values))]
        return _gap_influence(one.gap, view)

    extreme = None
    if gap.combine == "worst":
        means = tuple(_group_means(view, rate) for one, view in gaps for rate in one.gap.rates)
        extreme = Extreme(means, "difference")
    return RowMetric(
        of_rows, influence, bias="up", cost=cost, extreme=extreme, closed=closed,
        closed_by_cluster=True, value=value,
    )  # fmt: skip


def widest_of_weights(gaps: Sequence[tuple[Gap, View]]) -> OfRows:
    """Returns the widest of some gaps of one kind as a function of weights."""
    means = [[_compared_means(view, rate) for rate in gap.rates] for gap, view in gaps]
    kind, combine = gaps[0][0].kind, gaps[0][0].combine
    worst = np.max if kind == "difference" else np.min
    pick = np.mean if combine == "mean" else worst

    def compute(weights: Floats) -> Floats:
        each = [
            pick(np.stack([gap_of(part(weights), kind) for part in rates]), axis=0)
            for rates in means
        ]
        return np.asarray(worst(np.stack(each), axis=0))

    return compute


def _gap_influence(gap: Gap, view: View) -> Floats:
    """Returns the derivative of a gap by each weight, at weights of one, shape (n,).

    Of the widest pair of groups in the rate whose gap it is: elsewhere small changes move nothing.
    """
    found, gaps = [], []
    for rate in gap.rates:
        values = view.measured[rate].by_group.values[view.grouping.compared]
        high, low = (view.grouping.compared[pick(values)] for pick in (np.nanargmax, np.nanargmin))
        up, down = (mean_influence(view, rate, int(place)) for place in (high, low))
        found.append(up - down)
        gaps.append(float(np.nanmax(values) - np.nanmin(values)))
    if gap.combine == "mean":
        return np.asarray(np.mean(found, axis=0))
    return found[int(np.argmax(gaps))]


def worst_number(metric: str, views: Sequence[View], *, lower_is_worse: bool) -> Number:
    """Returns the worst value of all groups of all groupings, as a number without a group.

    The interval is one of the worst of the true values, whichever group has it: see
    `crucibench.metrics.groups.group_figures`.
    """
    name = f"worst-group-{metric}"
    pools = [
        (view, view.measured[metric].defined(view.grouping.compared))
        for view in views
        if not view.grouping.too_many
    ]
    pools = [(view, places) for view, places in pools if len(places)]
    groups = [(view, int(place)) for view, places in pools for place in places]
    if len(groups) < 2:
        return Number(metric=name, undefined="fewer than two groups have enough samples", n=0)
    values = [view.measured[metric].by_group.values[place] for view, place in groups]
    worst, worst_place = groups[int((np.argmin if lower_is_worse else np.argmax)(values))]

    def closed(level: float) -> Interval | str:
        measured = [(view.measured[metric], places) for view, places in pools]
        if not all(one.precise(places) for one, places in measured):
            return f"a group shows {_NO_SPREAD}"
        tail = (1 - level) / 2
        # One-sided at the bad end, all at once at the good one.
        tails = (tail, tail / len(groups)) if lower_is_worse else (tail / len(groups), tail)
        lows, highs = (
            np.concatenate([one.by_group.estimates(places).bounds(t)[end]
                            for one, places in measured])
            for end, t in enumerate(tails)
        )  # fmt: skip
        pick = np.min if lower_is_worse else np.max
        return Interval(float(pick(lows)), float(pick(highs)), level, "bounds-of-the-worst")

    def make() -> Form:
        return RowMetric(
            worst_of_weights(metric, [view for view, _ in pools], lower_is_worse=lower_is_worse),
            partial(mean_influence, worst, metric, worst_place), bias="up", cost=2 * len(pools),
            extreme=Extreme(
                tuple(_group_means(view, metric) for view, _ in pools),
                "lowest" if lower_is_worse else "highest",
            ),
            closed=closed, closed_by_cluster=True,
        )  # fmt: skip

    return Number(
        metric=name, make=make, n=worst.measured[metric].n(np.array([worst_place])),
        note=f"it is {worst.grouping.names[worst_place]}, worst of {len(groups)} groups",
    )  # fmt: skip


def worst_of_weights(metric: str, views: Sequence[View], *, lower_is_worse: bool) -> OfRows:
    """Returns the worst value of all compared groups as a function of weights."""
    means = [_compared_means(view, metric) for view in views]
    pick = np.nanmin if lower_is_worse else np.nanmax

    def compute(weights: Floats) -> Floats:
        return np.asarray(pick(np.concatenate([part(weights) for part in means], axis=1), axis=1))

    return compute


def mean_of_weights(view: View, metric: str, place: int) -> OfRows:
    """Returns one group's mean as a function of weights."""
    codes = np.where(view.grouping.codes == place, 0, -1)
    means = means_by_group(_measured_means(view.measures[metric], codes, 1))
    return lambda weights: means(weights)[:, 0]


def sample_values(one: Measure | SampleNumber, inside: Bools) -> tuple[Floats, Bools]:
    """Returns what a mean is taken of, and where, within `inside`; shape (n,) each."""
    among = inside if one.among is None else inside & one.among
    if isinstance(one, SampleNumber):
        return one.values, among
    return one.hits.astype(np.float64), among


def mean_influence(view: View, metric: str, place: int) -> Floats:
    """Returns the derivative of a group's mean by each weight, shape (n,)."""
    values, inside = sample_values(view.measures[metric], view.grouping.codes == place)
    found = np.zeros(len(values))
    found[inside] = (values[inside] - values[inside].mean()) / inside.sum()
    return found


def _group_means(view: View, metric: str) -> GroupMeans:
    """Returns the means of the groups that are compared and have one."""
    places = view.measured[metric].defined(view.grouping.compared)
    return _measured_means(view.measures[metric], _places(view, places), len(places))


def _measured_means(
    one: Measure | SampleNumber, codes: NDArray[np.signedinteger], k: int
) -> GroupMeans:
    """Returns the means of k groups, codes (n,) from 0, -1 for samples of none."""
    among = np.ones(len(codes), dtype=np.bool_) if one.among is None else one.among
    if isinstance(one, Measure):
        return GroupMeans(codes, one.hits, among, k, proportion=True)
    return GroupMeans(codes, one.values, among, k, proportion=False)


def _compared_means(view: View, metric: str) -> Callable[[Floats], Floats]:
    """Returns the function from weights (B, n) to each compared group's mean (B, G)."""
    compared = view.grouping.compared

    def compute(weights: Floats) -> Floats:
        # Made when it is resampled, which few are: a list of rows for each would fill the memory.
        part = _measured_means(view.measures[metric], _places(view, compared), len(compared))
        return means_by_group(part)(weights)

    return compute


def _places(view: View, places: Ints) -> NDArray[np.signedinteger]:
    """Returns each sample's group as a position in `places`, -1 for others, shape (n,)."""
    place = np.full(len(view.grouping), -1, dtype=np.min_scalar_type(-len(places) - 1))
    place[places] = np.arange(len(places))
    return np.asarray(place[view.grouping.codes])
