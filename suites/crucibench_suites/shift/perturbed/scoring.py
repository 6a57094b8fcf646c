"""Rows, tables and comparables of one perturbation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.statistic import Share
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import (
    Answers,
    Bools,
    clean_answers,
    cluster_codes,
    shifted_answers,
)
from crucibench_suites.shift.comparing import comparables_of, number
from crucibench_suites.shift.perturbed.metrics import INVARIANCE, PERTURBED
from crucibench_suites.shift.perturbed.values import (
    comparables_of_values,
    put_values,
    read_values,
    value_curve,
)
from crucibench_suites.shift.points import point_of
from crucibench_suites.shift.scoring import curve, put_severities
from crucibench_suites.shift.sheet import Sheet


def score_perturbed(evidence: Evidence, severities: Sequence[int], stream: str) -> Scored:
    """Scores one perturbation at its severities against the clean pass."""
    cell = evidence.own
    if not len(cell.samples):
        return Scored([])
    sheet = Sheet(
        len(cell.samples), options=evidence.options, stream=stream,
        clusters=cluster_codes(cell.samples.clusters),
    )  # fmt: skip
    if evidence.task.kind == "regression":
        values = read_values(evidence)
        put_values(sheet, values)
        _put_shares(sheet, evidence, severities)
        rows = sheet.rows()
        return Scored(rows, {"error-curve": value_curve(evidence, values, rows)})
    found = shifted_answers(cell, evidence.task)
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    put_severities(sheet, clean, found, severities)
    sheet.share(metrics.WORST_CASE, right_everywhere(found))
    sheet.share(INVARIANCE, unchanged(clean, found))
    _put_shares(sheet, evidence, severities)
    rows = sheet.rows()
    return Scored(rows, {"curve": curve(evidence, clean, rows, severities)})


def comparables_of_perturbed(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of one perturbation as statistics of samples."""
    cell = evidence.own
    if not len(cell.samples):
        return []
    if evidence.task.kind == "regression":
        return comparables_of_values(read_values(evidence))
    found = shifted_answers(cell, evidence.task)
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    return [
        *comparables_of(evidence),
        number(metrics.WORST_CASE, "", Share(right_everywhere(found))),
        number(INVARIANCE, "", Share(unchanged(clean, found))),
    ]


def right_everywhere(found: Mapping[str, Answers]) -> Bools:
    """Returns whether each sample is right at every point."""
    return np.asarray(np.all([answers.correct for answers in found.values()], axis=0))


def unchanged(clean: Answers, found: Mapping[str, Answers]) -> Bools:
    """Returns whether each sample's class is the clean one at every point."""
    same = [clean.predictions == answers.predictions for answers in found.values()]
    return np.asarray(np.all(same, axis=0))


def _put_shares(sheet: Sheet, evidence: Evidence, severities: Sequence[int]) -> None:
    for severity in severities:
        records = evidence.own.records.at(point_of(severity))
        touched = records.aligned(evidence.own.samples.ids).array("touched")
        sheet.share(PERTURBED, touched.astype(np.bool_), point_of(severity))
