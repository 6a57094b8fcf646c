"""Numbers of shifted data of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.statistic import Number, RowMetric, Share, Statistic
from crucibench.metrics.label_free import (
    average_confidence_statistic,
    average_thresholded_confidence_statistic,
    difference_of_confidences_statistic,
)
from crucibench.metrics.regression import rmse_statistic
from crucibench.tasks.classification.view import NO_PROBABILITIES, ClassView, Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers
from crucibench_suites.shift.names import HERE, HOME
from crucibench_suites.shift.numbers import (
    accuracy_lost_from,
    both_sets,
    calibration,
    mean_here_minus_home,
    mean_of,
    number,
    without,
)

NO_LABELS = "the data has no labels"

_ESTIMATES: tuple[tuple[MetricInfo, Callable[..., Statistic]], ...] = (
    (metrics.BY_CONFIDENCE, average_confidence_statistic),
    (metrics.BY_DIFFERENCE, difference_of_confidences_statistic),
    (metrics.BY_THRESHOLD, average_thresholded_confidence_statistic),
)


def place_numbers(evidence: Evidence) -> list[Number]:
    """Returns the numbers of a pass over the shifted data: of its samples alone."""
    home, here = evidence.needs[HOME], evidence.needs[HERE]
    if not len(home.samples) or not len(here.samples):
        return []
    labelled = here.samples.labelled
    if evidence.task.one_number:
        if not labelled:
            return [without(metric, NO_LABELS) for metric in (metrics.MAE, metrics.RMSE)]
        errors = np.abs(_values(here) - here.samples.targets)
        root = rmse_statistic(_values(here), here.samples.targets)
        return [
            number(metrics.MAE, mean_of(errors)), number(metrics.RMSE, RowMetric(root))
        ]  # fmt: skip
    answers = _answers(here, evidence)
    right = number(metrics.TOP_1, Share(answers.correct))
    confidence = without(metrics.CONFIDENCE, NO_PROBABILITIES)
    if answers.probabilistic:
        confidence = number(metrics.CONFIDENCE, mean_of(answers.known_confidence))
    if not labelled or not answers.probabilistic:
        reason = NO_PROBABILITIES if labelled else NO_LABELS
        return [
            right if labelled else without(metrics.TOP_1, NO_LABELS),
            without(metrics.LOG_LOSS, reason), without(metrics.ECE, reason), confidence,
        ]  # fmt: skip
    return [
        right, number(metrics.LOG_LOSS, mean_of(answers.known_loss)),
        number(metrics.ECE, calibration(answers)), confidence,
    ]  # fmt: skip


def home_numbers(evidence: Evidence) -> list[Number]:
    """Returns the numbers of both sets, home and here, which are drawn from apart."""
    home, here = evidence.needs[HOME], evidence.needs[HERE]
    if not len(home.samples) or not len(here.samples):
        return []
    labelled, units = here.samples.labelled, both_sets(home.samples, here.samples)
    if evidence.task.one_number:
        if not labelled:
            return [
                without(metric, NO_LABELS, units=units)
                for metric in (metrics.HOME_MAE_RISE, metrics.HOME_RMSE_RISE)
            ]
        errors = [_values(cell) - cell.samples.targets for cell in (home, here)]
        rise = mean_here_minus_home(np.abs(errors[0]), np.abs(errors[1]))
        return [
            number(metrics.HOME_MAE_RISE, RowMetric(rise), units=units),
            number(metrics.HOME_RMSE_RISE, RowMetric(_root_rise(errors)), units=units),
        ]
    before, after = _answers(home, evidence), _answers(here, evidence)
    numbers = [
        number(metrics.HOME_DROP, accuracy_lost_from(before, after), units=units)
        if labelled
        else without(metrics.HOME_DROP, NO_LABELS, units=units)
    ]
    for metric, build in _ESTIMATES:
        if before.probabilistic and after.probabilistic:
            estimate = build(before.known_confidence, before.correct, after.known_confidence)
            numbers.append(number(metric, RowMetric(estimate), units=units))
        else:
            numbers.append(without(metric, NO_PROBABILITIES, units=units))
    return numbers


def _root_rise(errors: Sequence[Floats]) -> Callable[[Floats], Floats]:
    """Returns the rise of the root mean squared error, from weights of home's and of these."""
    squares = [one**2 for one in errors]
    n = len(squares[0])

    def rise(weights: Floats) -> Floats:
        ours, theirs = weights[:, :n], weights[:, n:]
        with np.errstate(divide="ignore", invalid="ignore"):
            at_home = np.sqrt(ours @ squares[0] / ours.sum(axis=1))
            away = np.sqrt(theirs @ squares[1] / theirs.sum(axis=1))
        return np.asarray(away - at_home)

    return rise


def view_of_place(evidence: Evidence) -> OutcomeView | None:
    """Returns an outcome a shifted sample."""
    here = evidence.needs[HERE]
    if not here.samples.labelled:
        return None
    n = len(here.samples)
    point = np.full(n, "", dtype=object)
    if evidence.task.one_number:
        predicted = _values(here)
        return OutcomeView(here.samples.ids, point, predicted, predicted, np.full(n, np.nan))
    answers = _answers(here, evidence)
    return OutcomeView(
        here.samples.ids, point, answers.predictions, answers.score,
        answers.correct.astype(np.float64),
    )  # fmt: skip


def _answers(cell: CellEvidence, evidence: Evidence) -> ClassView:
    return clean_answers(cell, cell.samples.ids, evidence.task)


def _values(cell: CellEvidence) -> Floats:
    return cell.records.aligned(cell.samples.ids).array("prediction").astype(np.float64)
