"""Rows, tables, comparables and outcomes of one corruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Form, RowMetric, Share
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.statistic import mean_statistic
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import (
    NO_PROBABILITIES,
    Answers,
    Bools,
    Floats,
    clean_answers,
    cluster_codes,
    shifted_answers,
)
from crucibench_suites.shift.names import point_of, severity_of
from crucibench_suites.shift.sheet import Sheet


def score_image(evidence: Evidence, severities: Sequence[int], stream: str) -> Scored:
    """Scores one corruption at its severities against the clean pass."""
    cell = evidence.own
    if not len(cell.samples):
        return Scored([])
    found = shifted_answers(cell, evidence.task)
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    sheet = Sheet(
        len(cell.samples),
        options=evidence.options,
        stream=stream,
        clusters=cluster_codes(cell.samples.clusters),
    )
    put_severities(sheet, clean, found, severities)
    rows = sheet.rows()
    return Scored(rows, {"curve": curve(evidence, clean, rows, severities)})


def put_severities(
    sheet: Sheet, clean: Answers, found: Mapping[str, Answers], severities: Sequence[int]
) -> None:
    """Puts down the numbers of every severity, and the mean over them."""
    right = np.stack([found[point_of(severity)].correct for severity in severities])
    sheet.mean(metrics.MEAN_TOP_1, right.mean(axis=0))
    for severity in severities:
        put_answers(sheet, clean, found[point_of(severity)], point_of(severity))


def put_answers(
    sheet: Sheet, clean: Answers | None, shifted: Answers, point: str, no_clean: str = ""
) -> None:
    """Puts down the numbers of one point; `no_clean` says why there are no clean answers."""
    sheet.share(metrics.TOP_1, shifted.correct, point)
    if clean is None:
        sheet.without(metrics.DROP, no_clean, point)
        sheet.without(metrics.FLIP_RATE, no_clean, point)
    else:
        sheet.less(metrics.DROP, clean.correct, shifted.correct, point)
        sheet.share(metrics.FLIP_RATE, clean.predictions != shifted.predictions, point)
    if not shifted.probabilistic:
        for metric in (metrics.LOG_LOSS, metrics.ECE, metrics.CONFIDENCE):
            sheet.without(metric, NO_PROBABILITIES, point)
        return
    sheet.mean(metrics.LOG_LOSS, shifted.loss, point)
    error = calibration_error_statistic(shifted.confidence, shifted.correct)
    sheet.resampled(metrics.ECE, error, point, biased=True)
    sheet.mean(metrics.CONFIDENCE, shifted.confidence, point)


def curve(
    evidence: Evidence, clean: Answers, rows: Sequence[Row], severities: Sequence[int]
) -> pd.DataFrame:
    """Returns a line a severity, 0 being the clean samples."""
    sheet = Sheet(
        len(clean), options=evidence.options, stream="clean",
        clusters=cluster_codes(evidence.own.samples.clusters),
    )  # fmt: skip
    sheet.share(metrics.TOP_1, clean.correct)
    (first,) = sheet.rows()
    values = {(row.metric, row.point): row for row in rows}
    lines = [_line(0, {metrics.TOP_1.id: first}, 0.0)]
    for severity in severities:
        point = point_of(severity)
        found = {metric: row for (metric, at), row in values.items() if at == point}
        distance = evidence.own.records.at(point).array("distance")
        lines.append(_line(severity, found, float(distance.mean(dtype=np.float64))))
    return pd.DataFrame(lines)


def _line(severity: int, rows: Mapping[str, Row], distance: float) -> dict[str, float | None]:
    accuracy = rows[metrics.TOP_1.id]

    def value(metric: str) -> float | None:
        return rows[metric].value if metric in rows else None

    return {
        "severity": severity,
        "accuracy": accuracy.value,
        "lower": accuracy.lower,
        "upper": accuracy.upper,
        "flip_rate": 0.0 if severity == 0 else value(metrics.FLIP_RATE.id),
        "ece": value(metrics.ECE.id),
        "confidence": value(metrics.CONFIDENCE.id),
        "distance": distance,
    }


def comparables_of_image(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of one corruption."""
    cell = evidence.own
    if not len(cell.samples):
        return []
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    found = shifted_answers(cell, evidence.task)
    right = np.stack([answers.correct for answers in found.values()])
    numbers = [number(metrics.MEAN_TOP_1, "", mean_form(right.mean(axis=0)))]
    for point, answers in found.items():
        lost = clean.correct.astype(np.float64) - answers.correct
        numbers += [
            number(metrics.TOP_1, point, Share(answers.correct)),
            number(metrics.DROP, point, mean_form(lost)),
            number(metrics.FLIP_RATE, point, Share(clean.predictions != answers.predictions)),
        ]
        if answers.probabilistic:
            error = calibration_error_statistic(answers.confidence, answers.correct)
            numbers += [
                number(metrics.LOG_LOSS, point, mean_form(answers.loss)),
                number(metrics.ECE, point, RowMetric(error, error.influence, bias="up")),
                number(metrics.CONFIDENCE, point, mean_form(answers.confidence)),
            ]
    return numbers


def mean_form(values: Floats) -> RowMetric:
    """Returns a mean over samples."""
    mean = mean_statistic(values)
    return RowMetric(mean, mean.influence)


def number(metric: MetricInfo, point: str, form: Form) -> Comparable:
    """Returns a number as a statistic of the cell's samples."""
    return Comparable(metric=metric.id, point=point, form=form)


def score_corrupted(evidence: Evidence, severities: Sequence[int], stream: str) -> Scored:
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
    sheet.share(metrics.INVARIANCE, unchanged(clean, found))
    _put_shares(sheet, evidence, severities)
    rows = sheet.rows()
    return Scored(rows, {"curve": curve(evidence, clean, rows, severities)})


def comparables_of_corrupted(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of one perturbation as statistics of samples."""
    cell = evidence.own
    if not len(cell.samples):
        return []
    if evidence.task.kind == "regression":
        return comparables_of_values(read_values(evidence))
    found = shifted_answers(cell, evidence.task)
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    return [
        *comparables_of_image(evidence),
        number(metrics.WORST_CASE, "", Share(right_everywhere(found))),
        number(metrics.INVARIANCE, "", Share(unchanged(clean, found))),
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
        sheet.share(metrics.PERTURBED, touched.astype(np.bool_), point_of(severity))


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


def outcomes_of_corrupted(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, whatever the task."""
    if evidence.task.kind != "regression":
        return _outcomes_of_classes(evidence)
    records = evidence.own.records
    said = records.array("prediction").astype(np.float64)
    return OutcomeView(
        records.ids, records.array("point"), said, said, np.full(len(records), np.nan)
    )


def _predictions(cell: CellEvidence, point: str) -> Floats:
    records = cell.records.at(point).aligned(cell.samples.ids)
    return records.array("prediction").astype(np.float64)


def score_grid(evidence: Evidence, stream: str) -> Scored:
    """Scores the worst case of each sample, and each place."""
    cell = evidence.own
    if not len(cell.samples):
        return Scored([])
    found = shifted_answers(cell, evidence.task)
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task)
    sheet = Sheet(
        len(cell.samples), options=evidence.options, stream=stream,
        clusters=cluster_codes(cell.samples.clusters),
    )  # fmt: skip
    worst = right_everywhere(found)
    sheet.share(metrics.WORST_CASE, worst)
    sheet.less(metrics.DROP, clean.correct, worst)
    for point, answers in found.items():
        sheet.share(metrics.TOP_1, answers.correct, point)
        sheet.share(metrics.FLIP_RATE, clean.predictions != answers.predictions, point)
    return Scored(sheet.rows())


def comparables_of_grid(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of the grid as shares of samples."""
    if not len(evidence.own.samples):
        return []
    found = shifted_answers(evidence.own, evidence.task)
    worst = Share(right_everywhere(found))
    return [
        Comparable(metric=metrics.WORST_CASE.id, form=worst),
        *(
            Comparable(metric=metrics.TOP_1.id, point=point, form=Share(answers.correct))
            for point, answers in found.items()
        ),
    ]


def _outcomes_of_classes(evidence: Evidence) -> OutcomeView:
    """Returns an outcome per point and sample, points in order, samples in canonical order."""
    found = shifted_answers(evidence.own, evidence.task)
    ids = evidence.own.samples.ids
    answers = list(found.values())
    if not answers:
        empty = np.zeros(0)
        none = np.zeros(0, dtype=object)
        return OutcomeView(none, none.copy(), empty.astype(np.int64), empty, empty.copy())
    return OutcomeView(
        ids=np.tile(ids, len(found)),
        point=np.repeat(np.array(list(found), dtype=object), len(ids)),
        prediction=np.concatenate([entry.predictions for entry in answers]),
        score=np.concatenate([entry.score for entry in answers]),
        correct=np.concatenate([entry.correct for entry in answers]).astype(np.float64),
    )
