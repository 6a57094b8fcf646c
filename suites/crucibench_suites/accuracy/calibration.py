"""Rows of calibration, selective prediction and temperature."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtri

from crucibench.contracts.evidence import ScoringOptions
from crucibench.contracts.statistic import Statistic
from crucibench.metrics.calibration import (
    calibration_error_id,
    calibration_error_statistic,
    classwise_calibration_error_statistic,
    top_label,
)
from crucibench.metrics.selective import (
    accuracy_at_coverage_statistic,
    aurc_statistic,
    e_aurc_statistic,
)
from crucibench.metrics.temperature import (
    Recalibration,
    TemperatureFit,
    recalibrate,
    temperature_statistic,
)
from crucibench.stats import Interval
from crucibench_suites.accuracy.answers import Answers, Bools, Floats
from crucibench_suites.accuracy.classification import MOST_CELLS, too_many_cells
from crucibench_suites.accuracy.halves import Halves
from crucibench_suites.accuracy.ledger import Ledger
from crucibench_suites.accuracy.rows import Number
from crucibench_suites.accuracy.sheet import Sheet

View = Literal["top-label", "positive-class"]

_CLASSWISE = "ece-15-equal-width-classwise"
_COVERAGES = (80, 90, 95)
_SELECTIVE = ("aurc", "e-aurc", *(f"accuracy-at-coverage-{percent}" for percent in _COVERAGES))
_TEMPERATURE = "temperature"
_BEFORE = "ece-15-equal-width-top-label-before-temperature"
_AFTER = "ece-15-equal-width-top-label-after-temperature"

SMALLEST_HALF = 10
"""With fewer samples in a half no temperature is fitted on it or judged on it."""


def calibration_rows(sheet: Ledger, answers: Answers) -> None:
    """Puts down calibration errors and selective prediction."""
    views: tuple[View, ...] = ("top-label",)
    if answers.positive is not None:
        views = ("top-label", "positive-class")
    if answers.probabilities is None or answers.confidence is None or answers.assurance is None:
        metrics = [_error_id(view, form) for view in views for form in _FORMS]
        for metric in (*metrics, _CLASSWISE, *_SELECTIVE):
            sheet.without(metric, answers.why_none)
        return
    _errors(sheet, "top-label", answers.confidence, answers.correct)
    if answers.positive is not None:
        column = answers.probabilities[:, answers.positive]
        _errors(sheet, "positive-class", column, answers.positives)
    if answers.probabilities.size <= MOST_CELLS:
        classwise = partial(
            classwise_calibration_error_statistic, answers.probabilities, answers.targets
        )
        cost = 1 + len(answers.classes) // 10
        sheet.resampled(_CLASSWISE, classwise, cost=cost, bias="up")
    else:
        sheet.without(_CLASSWISE, too_many_cells(answers))
    _selective(sheet, answers.assurance, answers.correct)


class _Form(NamedTuple):
    binning: Literal["equal-width", "equal-mass"]
    norm: Literal["l1", "l2", "max"]
    debias: bool


_FORMS = (
    _Form("equal-width", "l1", False),
    _Form("equal-mass", "l1", False),
    _Form("equal-mass", "l2", True),
    _Form("equal-width", "max", False),
)


def _error_id(view: View, form: _Form) -> str:
    return calibration_error_id(view, binning=form.binning, norm=form.norm, debias=form.debias)


def _errors(sheet: Ledger, view: View, confidence: Floats, came_true: Bools) -> None:
    for form in _FORMS:
        statistic = partial(
            calibration_error_statistic, confidence, came_true,
            binning=form.binning, norm=form.norm, debias=form.debias,
        )  # fmt: skip
        sheet.resampled(_error_id(view, form), statistic, bias="corrected" if form.debias else "up")


def _selective(sheet: Ledger, assurance: Floats, correct: Bools) -> None:
    statistics: tuple[Callable[[], Statistic], ...] = (
        partial(aurc_statistic, assurance, correct),
        partial(e_aurc_statistic, assurance, correct),
        *(
            partial(accuracy_at_coverage_statistic, assurance, correct, percent=percent)
            for percent in _COVERAGES
        ),
    )
    for metric, statistic in zip(_SELECTIVE, statistics, strict=True):
        sheet.resampled(metric, statistic)


def temperature_rows(
    sheet: Sheet, answers: Answers, options: ScoringOptions, halves: Halves
) -> None:
    """Fits the calibrating temperature on one half and judges it on the other.

    Args:
        sheet: the sheet of all test samples.
        answers: what was answered to them.
        options: for the sheets of the halves.
        halves: how samples are split.
    """
    if answers.probabilities is None:
        for metric in (_TEMPERATURE, _BEFORE, _AFTER):
            sheet.without(metric, answers.why_none)
        return
    logits = answers.log_scores
    first = halves.first(answers.ids, answers.clusters)
    fitting, judging = np.flatnonzero(first), np.flatnonzero(~first)
    smallest = min(len(fitting), len(judging))
    if logits is None or smallest < SMALLEST_HALF:
        reason = (
            f"{smallest} samples in a half, fewer than the {SMALLEST_HALF} that a temperature "
            "is fitted on"
        )
        for metric in (_TEMPERATURE, _BEFORE, _AFTER):
            sheet.without(metric, reason, n=smallest)
        return
    found = recalibrate(logits, answers.targets, fit=fitting, evaluate=judging)
    clusters = answers.clusters
    fit_sheet = Sheet(
        len(fitting),
        options=options,
        stream=f"{halves.stream}/fit",
        clusters=None if clusters is None else clusters[fitting],
    )
    reason = _why_no_temperature(found.fit)
    if reason:
        fit_sheet.without(_TEMPERATURE, reason)
    else:
        # A fit under weights takes some ten passes over all logits and their exponentials.
        fit_sheet.closed(
            Number(metric=_TEMPERATURE, value=found.fit.temperature),
            lambda level: _log_normal(found.fit, level),
            lambda: temperature_statistic(logits[fitting], answers.targets[fitting]),
            cost=100 * len(answers.classes),
        )
    judge_sheet = Sheet(
        len(judging),
        options=options,
        stream=f"{halves.stream}/judge",
        clusters=None if clusters is None else clusters[judging],
    )
    _before_and_after(judge_sheet, found, answers, judging, reason)
    for row in (*fit_sheet.rows(), *judge_sheet.rows()):
        sheet.adopt(row)


def _why_no_temperature(fit: TemperatureFit) -> str:
    value = fit.temperature
    if value.value is None:
        return value.reason
    if fit.at_bound:
        which = "the fitting half is predicted without error" if value.value < 1 else "no skill"
        return f"log loss falls up to the end of the searched range, T = {value.value:g}: {which}"
    return "" if fit.log_standard_error is not None else "log loss has no curvature at its minimum"


def _log_normal(fit: TemperatureFit, level: float) -> Interval:
    at = fit.temperature.value or math.nan
    half = -float(ndtri((1 - level) / 2)) * (fit.log_standard_error or math.nan)
    return Interval(at * math.exp(-half), at * math.exp(half), level, "sandwich-log-normal")


def _before_and_after(
    sheet: Sheet, found: Recalibration, answers: Answers, judging: np.ndarray, reason: str
) -> None:
    """Puts down the ECE of the same decisions before and after; T changes no argmax."""
    said = answers.predictions[judging]
    before = partial(calibration_error_statistic, *top_label(found.before, found.targets, said))
    sheet.resampled(_BEFORE, before, bias="up")
    if reason or found.after is None:
        sheet.without(_AFTER, reason)
        return
    after = partial(calibration_error_statistic, *top_label(found.after, found.targets, said))
    sheet.resampled(_AFTER, after, bias="up", suffix="the temperature held fixed")
