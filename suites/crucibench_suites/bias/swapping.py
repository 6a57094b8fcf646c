"""How answers change where only a group does, in a column or in words: numbers and audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.statistic import Form, Number, RowMetric, Share, Units
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.metrics.forms import mean_form
from crucibench.metrics.scoring import cluster_codes
from crucibench_suites.bias.groupings import Grouping, groupings
from crucibench_suites.bias.measures import Bools, Floats, Measure, View
from crucibench_suites.bias.numbers import group_numbers, shown_groups


@dataclass(frozen=True, kw_only=True)
class ChangedText:
    """What became of the samples at one point.

    Attributes:
        point: the scenario's point.
        there: (n,) whether a sample was changed.
        flipped: (n,) whether its predicted label changed; None for regression.
        change: (n,) how far score or value moved, at least 0; None where there are no scores.
    """

    point: str
    there: Bools
    flipped: Bools | None
    change: Floats | None

    @property
    def what(self) -> str:
        """The column or category."""
        return self.point.partition("=")[2]


def read_changed(evidence: Evidence, point: str) -> ChangedText:
    """Reads one point's records beside the clean pass."""
    samples = evidence.own.samples
    records = evidence.own.records.at(point).aligned(samples.ids)
    there = records.array("swapped").astype(np.bool_)
    rows = np.flatnonzero(there)
    flipped = np.zeros(len(samples), dtype=np.bool_)
    change = np.zeros(len(samples))
    if not len(rows):
        none = None if evidence.task.one_number else flipped
        return ChangedText(point=point, there=there, flipped=none, change=change)
    part = samples.take(rows)
    before = replace(evidence.needs["clean"], samples=part)
    after = replace(evidence.own, records=records.aligned(part.ids), samples=part)
    kind = evidence.task.definition
    one, other = (kind.view(cell, evidence.task) for cell in (before, after))
    if evidence.task.one_number:
        change[rows] = np.abs(other.predictions - one.predictions)
        return ChangedText(point=point, there=there, flipped=None, change=change)
    flipped[rows] = one.predictions != other.predictions
    if one.probabilities is None or other.probabilities is None:
        return ChangedText(point=point, there=there, flipped=flipped, change=None)
    # For more than two classes: how much probability moved to other classes.
    change[rows] = np.abs(one.probabilities - other.probabilities).sum(axis=1) / 2
    return ChangedText(point=point, there=there, flipped=flipped, change=change)


def flip_numbers(evidence: Evidence, points: Sequence[str], prefix: str) -> list[Number]:
    """Returns each point's flip rate; `prefix` of the id is ``swapped`` or ``reworded``."""
    found = []
    for point in points if len(evidence.own.samples) else ():
        changed = read_changed(evidence, point)
        if changed.flipped is not None and changed.there.any():
            share = Share(changed.flipped[changed.there])
            found.append(
                Number(
                    metric=f"{prefix}-flip-rate", point=point, make=partial(_given, share),
                    units=_units(evidence, changed),
                )
            )  # fmt: skip
    return found


def change_numbers(evidence: Evidence, points: Sequence[str], prefix: str) -> list[Number]:
    """Returns how far answers move at each point, and of columns the flip rate by group."""
    found: list[Number] = []
    for point in points if len(evidence.own.samples) else ():
        changed = read_changed(evidence, point)
        here = _changes(evidence, changed, prefix)
        if prefix == "swapped" and changed.flipped is not None and changed.there.any():
            measure = Measure(
                "swapped-flip-rate", changed.flipped, changed.there, "no sample was changed"
            )
            grouping = _grouping(evidence, changed.what)
            view = View.of(grouping, [measure], cluster_codes(evidence.own.samples.clusters))
            here += group_numbers(view, view.measures, shown_groups(view))
        found += [replace(one, point=point) for one in here]
    return found


def _changes(evidence: Evidence, changed: ChangedText, prefix: str) -> list[Number]:
    rows = np.flatnonzero(changed.there)
    mean = f"{prefix}-value-change" if changed.flipped is None else f"{prefix}-score-change"
    if not len(rows):
        metric = mean if changed.flipped is None else f"{prefix}-flip-rate"
        return [
            Number(metric=metric, undefined=f"no sample's {changed.what} could be changed", n=0)
        ]
    if changed.change is None:
        return []
    change = changed.change[rows]
    units = _units(evidence, changed)
    found = [Number(metric=mean, make=partial(mean_form, change), units=units)]
    if changed.flipped is not None:
        largest = RowMetric(lambda weights: np.where(weights > 0, change, 0.0).max(axis=1))
        found.append(
            Number(
                metric=f"{prefix}-largest-score-change", make=lambda: largest, units=units,
                exact="the largest of some samples says nothing of others",
            )
        )  # fmt: skip
    return found


def _units(evidence: Evidence, changed: ChangedText) -> Units:
    return Units(evidence.own.samples.take(np.flatnonzero(changed.there)), changed.point)


def _given(form: Form) -> Form:
    return form


def _grouping(evidence: Evidence, column: str) -> Grouping:
    parameters = {"columns": [column], "depth": 1, "edges": {}, "reference": {}}
    groups = evidence.own.samples.groups
    return groupings(groups, parameters, evidence.options.min_group_size)[0]


def audit_swapped(evidence: Evidence, scenario: Any) -> Findings:
    """Flags columns of which nothing, or not all that is known, could be changed."""
    if not len(evidence.own.samples):
        return [no_samples()]
    findings = []
    for point in scenario.points:
        changed = read_changed(evidence, point)
        known = _grouping(evidence, changed.what).known()
        missed = int((known & ~changed.there).sum())
        if not missed:
            continue
        findings.append(
            Finding(
                code="not-swapped",
                severity=Severity.INFO if changed.there.any() else Severity.SUSPECT,
                message=f"{missed} of {len(known)} samples kept their {changed.what}: it has one "
                "group alone, too many, or values that its groups' names don't tell",
                evidence={"column": changed.what, "count": missed, "n": len(known)},
            )
        )
    return findings


def audit_reworded(evidence: Evidence, scenario: Any) -> Findings:
    """Says which categories hardly a text names."""
    if not len(evidence.own.samples):
        return [no_samples()]
    least = evidence.options.min_group_size
    counts = {point: int(read_changed(evidence, point).there.sum()) for point in scenario.points}
    few = {point.partition("=")[2]: count for point, count in counts.items() if count < least}
    if not few:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in few.items())
    return [
        Finding(
            code="few-texts",
            severity=Severity.INFO,
            message=f"fewer than {least} texts name a group of {listed}: little can be said of "
            "how answers depend on it",
            evidence={"texts": few, "n": len(evidence.own.samples)},
        )
    ]
