"""The numbers of shifted samples as statistics of samples, so that two models are compared."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.statistic import Form, RowMetric, Share
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.statistic import mean_statistic
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import Floats, clean_answers, shifted_answers


def comparables_of(evidence: Evidence) -> list[Comparable]:
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
