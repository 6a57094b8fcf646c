"""Rows and comparables of shifted data of the user's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import CellEvidence, Evidence, OutcomeView, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.statistic import Form, RowMetric, Share, Statistic
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.label_free import (
    average_confidence_statistic,
    average_thresholded_confidence_statistic,
    difference_of_confidences_statistic,
)
from crucibench.metrics.regression import rmse_statistic
from crucibench.metrics.statistic import mean_statistic
from crucibench.stats import newcombe_unpaired
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import (
    NO_PROBABILITIES,
    Answers,
    Floats,
    clean_answers,
    cluster_codes,
)
from crucibench_suites.shift.names import HERE, HOME
from crucibench_suites.shift.sheet import Sheet
from crucibench_suites.shift.two_places import TwoPlaces, mean_here_minus_home

NO_LABELS = "the data has no labels"

_ESTIMATES: tuple[tuple[MetricInfo, Callable[..., Statistic]], ...] = (
    (metrics.BY_CONFIDENCE, average_confidence_statistic),
    (metrics.BY_DIFFERENCE, difference_of_confidences_statistic),
    (metrics.BY_THRESHOLD, average_thresholded_confidence_statistic),
)


def score_place(evidence: Evidence, stream: str) -> Scored:
    """Scores a pass over the shifted data against that over the home test set."""
    home, here = evidence.needs[HOME], evidence.needs[HERE]
    if not len(home.samples) or not len(here.samples):
        return Scored([])
    own = Sheet(
        len(here.samples), options=evidence.options, stream=stream,
        clusters=cluster_codes(here.samples.clusters),
    )  # fmt: skip
    both = TwoPlaces(home.samples, here.samples, options=evidence.options, stream=f"{stream}/both")
    if evidence.task.kind == "regression":
        _put_values(own, both, home, here)
    else:
        _put_answers(own, both, evidence)
    return Scored([*own.rows(), *both.rows()])


def comparables_of_place(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of the shifted samples as statistics of them."""
    here = evidence.needs[HERE]
    if not len(here.samples) or not here.samples.labelled:
        return []
    forms: dict[MetricInfo, Form]
    if evidence.task.kind == "regression":
        said = _values(here)
        root = rmse_statistic(said, here.samples.targets)
        forms = {
            metrics.MAE: _mean(np.abs(said - here.samples.targets)),
            metrics.RMSE: RowMetric(root, root.influence),
        }
    else:
        answers = _answers(here, evidence)
        forms = {metrics.TOP_1: Share(answers.correct)}
        if answers.probabilistic:
            error = calibration_error_statistic(answers.confidence, answers.correct)
            forms |= {
                metrics.LOG_LOSS: _mean(answers.loss),
                metrics.ECE: RowMetric(error, error.influence, bias="up"),
            }
    return [Comparable(metric=metric.id, form=form) for metric, form in forms.items()]


def view_of_place(evidence: Evidence) -> OutcomeView | None:
    """Returns an outcome a shifted sample."""
    here = evidence.needs[HERE]
    if not here.samples.labelled:
        return None
    n = len(here.samples)
    point = np.full(n, "", dtype=object)
    if evidence.task.kind == "regression":
        said = _values(here)
        return OutcomeView(here.samples.ids, point, said, said, np.full(n, np.nan))
    answers = _answers(here, evidence)
    return OutcomeView(
        here.samples.ids, point, answers.predictions, answers.score,
        answers.correct.astype(np.float64),
    )  # fmt: skip


def _answers(cell: CellEvidence, evidence: Evidence) -> Answers:
    return clean_answers(cell, cell.samples.ids, evidence.task)


def _values(cell: CellEvidence) -> Floats:
    return cell.records.aligned(cell.samples.ids).array("prediction").astype(np.float64)


def _mean(values: Floats) -> RowMetric:
    mean = mean_statistic(values)
    return RowMetric(mean, mean.influence)


def _put_answers(own: Sheet, both: TwoPlaces, evidence: Evidence) -> None:
    home_cell, here_cell = evidence.needs[HOME], evidence.needs[HERE]
    home, here = _answers(home_cell, evidence), _answers(here_cell, evidence)
    labelled = here_cell.samples.labelled
    if labelled:
        own.share(metrics.TOP_1, here.correct)
        put_drop(both, home, here)
    else:
        own.without(metrics.TOP_1, NO_LABELS)
        both.without(metrics.HOME_DROP, NO_LABELS)
    if not labelled or not here.probabilistic:
        reason = NO_PROBABILITIES if labelled else NO_LABELS
        own.without(metrics.LOG_LOSS, reason)
        own.without(metrics.ECE, reason)
    else:
        own.mean(metrics.LOG_LOSS, here.loss)
        error = calibration_error_statistic(here.confidence, here.correct)
        own.resampled(metrics.ECE, error, biased=True)
    if here.probabilistic:
        own.mean(metrics.CONFIDENCE, here.confidence)
    else:
        own.without(metrics.CONFIDENCE, NO_PROBABILITIES)
    for metric, build in _ESTIMATES:
        if home.probabilistic and here.probabilistic:
            both.resampled(metric, build(home.confidence, home.correct, here.confidence))
        else:
            both.without(metric, NO_PROBABILITIES)


def put_drop(both: TwoPlaces, home: Answers, here: Answers) -> None:
    """Puts down what accuracy has lost from the home test set, samples being others there."""
    counts = [(int(one.correct.sum()), len(one)) for one in (home, here)]
    value = counts[0][0] / counts[0][1] - counts[1][0] / counts[1][1]
    right = [one.correct.astype(np.float64) for one in (home, here)]
    both.closed(
        metrics.HOME_DROP, value,
        lambda level: newcombe_unpaired(*counts[0], *counts[1], level),
        mean_here_minus_home(right[0], right[1], sign=-1.0),
    )  # fmt: skip


def _put_values(own: Sheet, both: TwoPlaces, home: CellEvidence, here: CellEvidence) -> None:
    if not here.samples.labelled:
        for metric in (metrics.MAE, metrics.RMSE):
            own.without(metric, NO_LABELS)
        for metric in (metrics.HOME_MAE_RISE, metrics.HOME_RMSE_RISE):
            both.without(metric, NO_LABELS)
        return
    errors = [_values(cell) - cell.samples.targets for cell in (home, here)]
    own.mean(metrics.MAE, np.abs(errors[1]))
    own.resampled(metrics.RMSE, rmse_statistic(_values(here), here.samples.targets))
    both.resampled(
        metrics.HOME_MAE_RISE, mean_here_minus_home(np.abs(errors[0]), np.abs(errors[1]))
    )
    squares = np.concatenate(errors) ** 2
    n = len(errors[0])

    def root_rise(weights: Floats) -> Floats:
        ours, theirs = weights[:, :n], weights[:, n:]
        with np.errstate(divide="ignore", invalid="ignore"):
            at_home = np.sqrt(ours @ squares[:n] / ours.sum(axis=1))
            away = np.sqrt(theirs @ squares[n:] / theirs.sum(axis=1))
        return np.asarray(away - at_home)

    both.resampled(metrics.HOME_RMSE_RISE, root_rise)
