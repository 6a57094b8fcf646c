"""Rows and tables of one corruption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.rows import Row
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import (
    NO_PROBABILITIES,
    Answers,
    clean_answers,
    cluster_codes,
    shifted_answers,
)
from crucibench_suites.shift.points import point_of
from crucibench_suites.shift.sheet import Sheet


def score_corrupted(evidence: Evidence, severities: Sequence[int], stream: str) -> Scored:
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
