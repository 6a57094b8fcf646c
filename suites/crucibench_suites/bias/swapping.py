"""How answers change where only a group does, in a column or in words: rows and audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Share, Value
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.scoring import cluster_codes
from crucibench.metrics.statistic import mean_statistic
from crucibench.tasks.classification.view import view_of_pass
from crucibench.tasks.regression.kind import read_values
from crucibench_suites.bias.decisions import Bools, Floats, Ints, Measure
from crucibench_suites.bias.found import Measured
from crucibench_suites.bias.groupings import Grouping, groupings
from crucibench_suites.bias.row_making import Number, undefined
from crucibench_suites.bias.rows import group_rows
from crucibench_suites.bias.sheet import Sheet
from crucibench_suites.bias.tally import tally


@dataclass(frozen=True, kw_only=True)
class Changed:
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


def read_changed(evidence: Evidence, point: str) -> Changed:
    """Reads one point's records beside the clean pass."""
    samples = evidence.own.samples
    records = evidence.own.records.at(point).aligned(samples.ids)
    there = records.array("swapped").astype(np.bool_)
    rows = np.flatnonzero(there)
    flipped = np.zeros(len(samples), dtype=np.bool_)
    change = np.zeros(len(samples))
    if not len(rows):
        return Changed(point=point, there=there, flipped=flipped, change=change)
    part = samples.take(rows)
    before = replace(evidence.needs["clean"], samples=part)
    after = replace(evidence.own, records=records.aligned(part.ids), samples=part)
    if evidence.task.one_number:
        values = [read_values(cell.records, part.ids) for cell in (before, after)]
        change[rows] = np.abs(values[1] - values[0])
        return Changed(point=point, there=there, flipped=None, change=change)
    one, other = (view_of_pass(cell, evidence.task) for cell in (before, after))
    flipped[rows] = one.predictions != other.predictions
    if one.probabilities is None or other.probabilities is None:
        return Changed(point=point, there=there, flipped=flipped, change=None)
    # For more than two classes: how much probability moved to other classes.
    change[rows] = np.abs(one.probabilities - other.probabilities).sum(axis=1) / 2
    return Changed(point=point, there=there, flipped=flipped, change=change)


def score_changed(evidence: Evidence, points: Sequence[str], prefix: str, stream: str) -> Scored:
    """Scores every point.

    Args:
        evidence: of the scenario.
        points: its points.
        prefix: of the metrics' ids, ``swapped`` or ``reworded``.
        stream: names the draws.
    """
    if not len(evidence.own.samples):
        return Scored([])
    clusters = cluster_codes(evidence.own.samples.clusters)
    rows: list[Row] = []
    for point in points:
        changed = read_changed(evidence, point)
        found = _overall(evidence, changed, clusters, (prefix, f"{stream}/{point}"))
        if prefix == "swapped":
            found += _by_group(evidence, changed, clusters)
        rows += [replace(row, point=point) for row in found]
    return Scored(rows)


def _overall(
    evidence: Evidence, changed: Changed, clusters: Ints | None, names: tuple[str, str]
) -> list[Row]:
    prefix, stream = names
    rows = np.flatnonzero(changed.there)
    mean = f"{prefix}-value-change" if evidence.task.one_number else f"{prefix}-score-change"
    if not len(rows):
        metric = mean if changed.flipped is None else f"{prefix}-flip-rate"
        reason = f"no sample's {changed.what} could be changed"
        return [undefined(Number(metric=metric, value=Value(value=None, n=0, reason=reason)))]
    sheet = Sheet(
        len(rows),
        options=evidence.options,
        stream=stream,
        clusters=None if clusters is None else clusters[rows],
    )
    if changed.flipped is not None:
        sheet.share(f"{prefix}-flip-rate", changed.flipped[rows], None, missing="no samples")
    if changed.change is None:
        return sheet.rows()
    change = changed.change[rows]
    sheet.resampled(mean, lambda: mean_statistic(change))
    found = sheet.rows()
    if changed.flipped is not None:
        found.append(
            Row(
                metric=f"{prefix}-largest-score-change", value=float(change.max()), n=len(rows),
                reason="the largest of some samples says nothing of others",
            )
        )  # fmt: skip
    return found


def _by_group(evidence: Evidence, changed: Changed, clusters: Ints | None) -> list[Row]:
    if changed.flipped is None or not changed.there.any():
        return []
    grouping = _grouping(evidence, changed.what)
    measure = Measure("swapped-flip-rate", changed.flipped, changed.there, "no sample was changed")
    measured = Measured(
        id=measure.id,
        by_group=tally(measure, grouping.codes, len(grouping), clusters),
        undefined=measure.undefined,
    )
    return group_rows(grouping, [measured], evidence.options.level)


def _grouping(evidence: Evidence, column: str) -> Grouping:
    parameters = {"columns": [column], "depth": 1, "edges": {}, "reference": {}}
    groups = evidence.own.samples.groups
    return groupings(groups, parameters, evidence.options.min_group_size)[0]


def audit_swapped(evidence: Evidence, points: Sequence[str]) -> Findings:
    """Flags columns of which nothing, or not all that is known, could be changed."""
    if not len(evidence.own.samples):
        return [_no_samples()]
    findings = []
    for point in points:
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


def audit_reworded(evidence: Evidence, points: Sequence[str]) -> Findings:
    """Says which categories hardly a text names."""
    if not len(evidence.own.samples):
        return [_no_samples()]
    least = evidence.options.min_group_size
    counts = {point: int(read_changed(evidence, point).there.sum()) for point in points}
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


def flips_of(evidence: Evidence, points: Sequence[str], prefix: str) -> list[Comparable]:
    """Returns each point's flip rate."""
    found = []
    for point in points if len(evidence.own.samples) else ():
        changed = read_changed(evidence, point)
        if changed.flipped is not None and changed.there.any():
            share = Share(changed.flipped, changed.there)
            found.append(Comparable(metric=f"{prefix}-flip-rate", point=point, form=share))
    return found


def _no_samples() -> Finding:
    message = "there are no test samples"
    return Finding(code="no-samples", severity=Severity.INVALID, message=message)
