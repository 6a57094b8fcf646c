"""Rates by group and gaps as statistics of samples: so two models' gaps are compared in pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Extreme, GroupMeans, RowMetric, Share
from crucibench.metrics.catalogue_groups import Gap
from crucibench.metrics.gaps import gap_of
from crucibench_suites.bias.decisions import Bools, Floats, Measure, Number
from crucibench_suites.bias.found import Found, why_uncompared
from crucibench_suites.bias.scoring import gaps_of, read_views, shown_metrics, wanted_gaps
from crucibench_suites.bias.views import View

_MODEL_S = {"ppv", "npv"}
"""Rates whose denominator depends on the model."""


def comparables_of(evidence: Evidence, parameters: Mapping[str, Any]) -> list[Comparable]:
    """Returns what `score_groups` makes, but for ratios, the worst class and inequality.

    A smallest ratio may rest on a rate of 0, which stays 0 however samples are drawn again.
    """
    if not len(evidence.needs["test"].samples):
        return []
    return comparables_of_views(
        evidence, read_views(evidence, parameters), wanted_gaps(evidence.task)
    )


def comparables_of_views(
    evidence: Evidence, views: Sequence[View], gaps: Sequence[Gap]
) -> list[Comparable]:
    """Returns what is comparable of some answers, measured by group; see `comparables_of`."""
    compared = [view for view in views if not why_uncompared(view.grouping)]
    found = _worst(evidence, compared) + _widest(evidence, compared, gaps)
    for view in compared:
        found += _of_groups(view)
        found += _of_gaps(evidence, view, gaps)
    return found


def _worst(evidence: Evidence, views: Sequence[View]) -> list[Comparable]:
    """The worst group of all groupings."""
    if not views:
        return []
    regression = evidence.task.one_number
    metric = "mae" if regression else "top-1"
    parts = [_by_compared(view, metric) for view in views]

    def compute(weights: Floats) -> Floats:
        values = np.concatenate([part(weights) for part in parts], axis=1)
        return np.asarray(np.nanmax(values, axis=1) if regression else np.nanmin(values, axis=1))

    def influence() -> Floats:
        ends = []
        for view in views:
            values = view.measured[metric].by_group.values[view.grouping.compared]
            at = int(values.argmax() if regression else values.argmin())
            ends.append((float(values[at]), view, int(view.grouping.compared[at])))
        _, view, place = (max if regression else min)(ends, key=lambda end: end[0])
        return mean_influence(view, metric, place)

    extreme = Extreme(
        tuple(_means(view, metric) for view in views), "highest" if regression else "lowest"
    )
    form = RowMetric(compute, influence, bias="up", cost=2 * len(parts), extreme=extreme)
    return [Comparable(metric=f"worst-group-{metric}", form=form)]


def _means(view: View, metric: str) -> GroupMeans:
    """Returns the means of the groups that are compared and have one."""
    grouping, one = view.grouping, view.measures[metric]
    places = view.measured[metric].defined(grouping.compared)
    place = np.full(len(grouping), -1)
    place[places] = np.arange(len(places))
    numbers, among = _values(one, np.ones(len(grouping.codes), dtype=np.bool_))
    return GroupMeans(place[grouping.codes], numbers, among, len(places), isinstance(one, Measure))


def _extreme(gap: Gap, views: Sequence[View]) -> Extreme | None:
    if gap.combine != "worst" or gap.kind != "difference":
        return None
    return Extreme(tuple(_means(view, rate) for view in views for rate in gap.rates), "difference")


def _widest(evidence: Evidence, views: Sequence[View], gaps: Sequence[Gap]) -> list[Comparable]:
    """The widest gap of the single columns."""
    single = [view for view in views if len(view.grouping.columns) == 1]
    found: dict[str, list[tuple[Gap, View]]] = {}
    for view in single:
        for one in gaps_of(evidence, [view], "comparing", gaps):
            if _pairs(one) and one.gap.combine == "worst":
                found.setdefault(one.gap.id, []).append((one.gap, view))
    return [Comparable(metric=metric, form=_widest_of(parts)) for metric, parts in found.items()]


def _widest_of(parts: Sequence[tuple[Gap, View]]) -> RowMetric:
    gap = parts[0][0]
    forms = [_gap_form(gap, view) for _, view in parts]

    def compute(weights: Floats) -> Floats:
        values = np.stack([form.of_rows(weights) for form in forms])
        return np.asarray(values.max(axis=0))

    def influence() -> Floats | None:
        ones = np.ones((1, len(parts[0][1].grouping.codes)))
        values = [float(form.of_rows(ones)[0]) for form in forms]
        found = forms[int(np.argmax(values))]
        return None if found.influence is None else found.influence()

    return RowMetric(
        compute, influence, bias="up", cost=2 * len(gap.rates) * len(parts),
        extreme=_extreme(gap, [view for _, view in parts]),
    )  # fmt: skip


def _of_groups(view: View) -> list[Comparable]:
    found: list[Comparable] = []
    for place in view.grouping.compared:
        inside = view.grouping.codes == place
        for one in (view.measures[metric] for metric in shown_metrics(view)):
            group = view.grouping.names[place]
            if isinstance(one, Measure):
                among = inside if one.among is None else inside & one.among
                if not among.any():
                    continue
                share = Share(one.hits & among, among, one.id not in _MODEL_S)
                found.append(Comparable(metric=one.id, group=group, form=share))
            else:
                mean = RowMetric(
                    _group_means(one, np.where(inside, 0, -1), 1),
                    partial(mean_influence, view, one.id, int(place)),
                )
                found.append(Comparable(metric=one.id, group=group, form=mean))
    return found


def _of_gaps(evidence: Evidence, view: View, gaps: Sequence[Gap]) -> list[Comparable]:
    found = []
    for one in gaps_of(evidence, [view], "comparing", gaps):
        if not _pairs(one):
            continue
        form = _gap_form(one.gap, view)
        found.append(Comparable(metric=one.gap.id, group=view.grouping.title, form=form))
    return found


def _pairs(one: Found) -> bool:
    return one.value is not None and one.gap.kind == "difference"


def _gap_form(gap: Gap, view: View) -> RowMetric:
    parts = [_by_compared(view, rate) for rate in gap.rates]

    def compute(weights: Floats) -> Floats:
        gaps = np.stack([gap_of(part(weights), gap.kind) for part in parts])
        if gap.combine == "mean":
            return np.asarray(gaps.mean(axis=0))
        return np.asarray(gaps.max(axis=0))

    def influence() -> Floats:
        return _gap_influence(gap, view)

    return RowMetric(
        compute, influence, bias="up", cost=2 * len(gap.rates), extreme=_extreme(gap, [view])
    )


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


def mean_influence(view: View, metric: str, place: int) -> Floats:
    """Returns the derivative of a group's mean by each weight, shape (n,)."""
    values, inside = _values(view.measures[metric], view.grouping.codes == place)
    found = np.zeros(len(values))
    found[inside] = (values[inside] - values[inside].mean()) / inside.sum()
    return found


def _by_compared(view: View, metric: str) -> Callable[[Floats], Floats]:
    """Returns the function from weights (B, n) to each compared group's mean (B, G)."""
    grouping = view.grouping
    place = np.full(len(grouping), -1)
    place[grouping.compared] = np.arange(len(grouping.compared))
    return _by_group(view.measures[metric], place[grouping.codes], len(grouping.compared))


def _by_group(one: Measure | Number, codes: Any, k: int) -> Callable[[Floats], Floats]:
    """Returns the function from weights (B, n) to each group's mean (B, G)."""
    values, inside = _values(one, np.asarray(codes >= 0))
    rows = np.flatnonzero(inside)
    own, numbers = codes[rows], values[rows]

    def compute(weights: Floats) -> Floats:
        means = np.empty((len(weights), k))
        for place, row in enumerate(weights):
            part = row[rows]
            total = np.bincount(own, weights=part, minlength=k)
            with np.errstate(invalid="ignore", divide="ignore"):
                means[place] = np.bincount(own, weights=part * numbers, minlength=k) / total
        return means

    return compute


def _values(one: Measure | Number, inside: Bools) -> tuple[Floats, Bools]:
    """Returns what the mean is taken of, and where, within `inside`; shape (n,) each."""
    if isinstance(one, Number):
        return one.values, inside
    among = inside if one.among is None else inside & one.among
    return one.hits.astype(np.float64), among


def _group_means(one: Number, codes: Any, k: int) -> Callable[[Floats], Floats]:
    part = _by_group(one, codes, k)
    return lambda weights: part(weights)[:, 0]
