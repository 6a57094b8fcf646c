"""Regression: errors of perturbed samples against those of the same samples clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView
from crucibench.contracts.rows import Row
from crucibench_suites.shift import outcomes
from crucibench_suites.shift.answers import Floats, cluster_codes
from crucibench_suites.shift.comparing import mean_form, number
from crucibench_suites.shift.perturbed import metrics
from crucibench_suites.shift.points import severity_of
from crucibench_suites.shift.sheet import Sheet


@dataclass(frozen=True)
class Values:
    """What a model answered, rows as the cell's samples.

    Attributes:
        targets: shape (n,).
        clean: predictions of the clean samples, (n,).
        shifted: point to predictions, (n,).
    """

    targets: Floats
    clean: Floats
    shifted: dict[str, Floats]

    def errors(self, point: str) -> Floats:
        """Returns absolute errors at a point, (n,)."""
        return np.asarray(np.abs(self.shifted[point] - self.targets))

    @property
    def clean_errors(self) -> Floats:
        """Absolute errors of the clean samples, (n,)."""
        return np.asarray(np.abs(self.clean - self.targets))

    def all_errors(self) -> Floats:
        """Returns absolute errors at every point, (points, n)."""
        return np.stack([self.errors(point) for point in self.shifted])


def read_values(evidence: Evidence, alias: str | None = None) -> Values:
    """Reads the predictions of a cell, by default the evidence's own, and those of the pass."""
    cell = evidence.own if alias is None else evidence.needs[alias]
    clean = evidence.needs["clean"]
    rows = pd.Index(clean.records.ids).get_indexer(pd.Index(cell.samples.ids))
    if (rows < 0).any():
        raise ValueError(f"{clean.cell}: {int((rows < 0).sum())} samples have no record")
    return Values(
        cell.samples.targets.astype(np.float64),
        clean.records.array("prediction").astype(np.float64)[rows],
        {point: _predictions(cell, point) for point in cell.records.points},
    )


def put_values(sheet: Sheet, values: Values) -> None:
    """Puts down the errors of one perturbation."""
    errors = values.all_errors()
    sheet.mean(metrics.MEAN_MAE, errors.mean(axis=0))
    for point, wrong in zip(values.shifted, errors, strict=True):
        sheet.mean(metrics.MAE, wrong, point)
        sheet.mean(metrics.MAE_RISE, wrong - values.clean_errors, point)
        sheet.mean(metrics.CHANGE, np.abs(values.shifted[point] - values.clean), point)
    sheet.mean(metrics.WORST_CASE_MAE, errors.max(axis=0))


def comparables_of_values(values: Values) -> list[Comparable]:
    """Returns the errors as statistics of samples."""
    errors = values.all_errors()
    numbers = [
        number(metrics.MEAN_MAE, "", mean_form(errors.mean(axis=0))),
        number(metrics.WORST_CASE_MAE, "", mean_form(errors.max(axis=0))),
    ]
    for point, wrong in zip(values.shifted, errors, strict=True):
        moved = np.abs(values.shifted[point] - values.clean)
        numbers += [
            number(metrics.MAE, point, mean_form(wrong)),
            number(metrics.MAE_RISE, point, mean_form(wrong - values.clean_errors)),
            number(metrics.CHANGE, point, mean_form(moved)),
        ]
    return numbers


def value_curve(evidence: Evidence, values: Values, rows: Sequence[Row]) -> pd.DataFrame:
    """Returns a line a severity, 0 being the clean samples."""
    sheet = Sheet(
        len(values.clean), options=evidence.options, stream="clean",
        clusters=cluster_codes(evidence.own.samples.clusters),
    )  # fmt: skip
    sheet.mean(metrics.MAE, values.clean_errors)
    lines = [(0, sheet.rows()[0])]
    lines += [(severity_of(row.point), row) for row in rows if row.metric == metrics.MAE.id]
    return pd.DataFrame(
        [
            {"severity": severity, "mae": row.value, "lower": row.lower, "upper": row.upper}
            for severity, row in lines
        ]
    )


def view(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, whatever the task."""
    if evidence.task.kind != "regression":
        return outcomes.view(evidence)
    records = evidence.own.records
    said = records.array("prediction").astype(np.float64)
    return OutcomeView(
        records.ids, records.array("point"), said, said, np.full(len(records), np.nan)
    )


def _predictions(cell: CellEvidence, point: str) -> Floats:
    records = cell.records.at(point).aligned(cell.samples.ids)
    return records.array("prediction").astype(np.float64)
