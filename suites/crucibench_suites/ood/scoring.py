"""Rows of a detector, and of the sets themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import CellEvidence, Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Records
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import RowMetric
from crucibench.stats import auc, wilson
from crucibench_suites.ood import numbers
from crucibench_suites.ood.detecting import in_rows
from crucibench_suites.ood.detector import Floats, Ints
from crucibench_suites.ood.inputs import PREFIX
from crucibench_suites.ood.intervals import Mean, row_of
from crucibench_suites.ood.part import BUILDERS
from crucibench_suites.ood.scores import Scores
from crucibench_suites.ood.sources import KNOWN, OODSet, kept_apart, scored

_COST = 1000
"""So that comparisons of more than 100 samples use the influence function, which is DeLong's: a
bootstrap that sorts every set 2,000 times for every detector says no more."""


def score_detector(evidence: Evidence, points: Sequence[str]) -> Scored:
    """Returns every number of a detector at each of its points."""
    scores = Scores(evidence.own, evidence.needs["test"].samples)
    rows: list[Row] = []
    for point in points:
        parts = scores.parts(point)
        for metric in (entry.id for entry in numbers.OF_DETECTOR):
            if parts is None:
                rows.append(undefined(metric, point, scores))
            else:
                rows.append(row_of(metric, point, Mean.of(metric, parts), evidence.options))
    return Scored(rows)


def comparables_of(
    evidence: Evidence, cell: CellEvidence, points: Sequence[str], metrics: Sequence[MetricInfo]
) -> list[Comparable]:
    """Returns what can be computed again of a detector for any weighting of the test samples.

    Args:
        evidence: whose needs hold the pass over the test role.
        cell: the detector's.
        points: where it is read.
        metrics: the numbers wanted; what is no number of one detector is left out.
    """
    samples = evidence.needs["test"].samples
    scores = Scores(cell, samples, by_cluster=False)  # whoever compares sees to clusters
    units = scores.unit_samples
    rows = np.empty(len(scores.known), dtype=np.int64)
    rows[scores.known_units] = scores.known_rows
    # Where all are test samples, they go by these; else each unit is a sample of its own table.
    n, places = (len(samples), rows) if units is None else (len(units), np.arange(len(units)))
    found = []
    for point in points:
        parts = scores.parts(point)
        if parts is None:
            continue
        for metric in (entry.id for entry in metrics if entry.id in BUILDERS):
            mean = Mean.of(metric, parts)
            form = RowMetric(
                _of_samples(mean, places), _influence(mean, places, n), cost=_COST * len(parts)
            )
            found.append(Comparable(metric=metric, point=point, form=form, samples=units))
    return found


def _of_samples(mean: Mean, rows: Ints) -> Callable[[Floats], Floats]:
    return lambda weights: mean(np.ascontiguousarray(weights[:, rows[: mean.count]]))


def _influence(mean: Mean, rows: Ints, n: int) -> Callable[[], Floats]:
    def influence() -> Floats:
        whole = np.zeros(n)
        whole[rows[: mean.count]] = mean.influence()
        return whole

    return influence


def score_sets(evidence: Evidence, sets: Sequence[OODSet], share: float) -> Scored:
    """Returns ID accuracy, and a table of what statistic of the inputs tells each set best."""
    test = evidence.needs["test"]
    keep = ~kept_apart(test.samples, share)
    ids = test.samples.ids[keep]
    right = in_rows(test, ids, "prediction") == test.samples.targets[keep]
    rows: list[Row] = []
    if len(ids):
        low, high, level, method = wilson(int(right.sum()), len(ids), evidence.options.level)
        rows.append(
            Row(
                metric=numbers.ID_ACCURACY.id, point=KNOWN, value=float(right.mean()), n=len(ids),
                lower=low, upper=high, level=level, method=method,
            )
        )  # fmt: skip
    return Scored(rows, {"sets": _table(evidence, sets, len(ids))})


def easiest(records: Records) -> dict[str, tuple[float, str]]:
    """Returns AUROC and name of the statistic that tells each set best.

    Args:
        records: of the scenario ``sets``.
    """
    best: dict[str, tuple[float, str]] = {}
    for point, name, area in zip(
        records.array("point"), records.array("statistic"), records.array("auroc"), strict=True
    ):
        best[point] = max(best.get(point, (0.0, "")), (float(area), str(name)))
    return best


def trivial_columns(evidence: Evidence, sets: Sequence[OODSet], share: float) -> dict[str, object]:
    """Returns a row for every scored set and statistic of its inputs: how well this tells it."""
    test = evidence.needs["test"].samples
    ids = test.ids[~kept_apart(test, share)]
    known = evidence.needs["inputs"]
    found: list[tuple[str, str, float, int]] = []
    for one in scored(sets):
        strange = evidence.needs[one.address]
        for column in known.records.table.column_names:
            if column.startswith(PREFIX) and column in strange.records:
                before, after = in_rows(known, ids, column), strange.records.array(column)
                if len(before) and len(after):
                    name = column.removeprefix(PREFIX)
                    area = _best(before, after)
                    found.append((one.address, name, area, len(before) + len(after)))
    return {
        "id": [f"{address} {name}" for address, name, _, _ in found],
        "point": np.array([address for address, _, _, _ in found], dtype=object),
        "statistic": [name for _, name, _, _ in found],
        "auroc": np.array([area for _, _, area, _ in found]),
        "n": np.array([n for _, _, _, n in found], dtype=np.int64),
    }


def _best(known: Floats, strange: Floats) -> float:
    area = auc(strange, known)
    middle = float(np.median(known))
    return max(area, 1.0 - area, auc(np.abs(strange - middle), np.abs(known - middle)))


def _table(evidence: Evidence, sets: Sequence[OODSet], known: int) -> pd.DataFrame:
    best = easiest(evidence.own.records)
    lines = [{"set": "in-distribution", "samples": known, "easiest by": "", "its AUROC": np.nan}]
    for one in scored(sets):
        area, name = best.get(one.address, (np.nan, ""))
        count = len(evidence.needs[one.address].records)
        lines.append({"set": one.address, "samples": count, "easiest by": name, "its AUROC": area})
    return pd.DataFrame(lines)


def undefined(metric: str, point: str, scores: Scores, group: str = "") -> Row:
    """Returns the row of a number that there are no scores for."""
    return Row(
        metric=metric, point=point, group=group, value=None, n=len(scores.known),
        reason=scores.unfit or "a set has no sample",
    )  # fmt: skip
