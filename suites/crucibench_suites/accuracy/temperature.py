"""The temperature that would calibrate a model, fitted on one half and judged on the other."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from scipy.special import ndtri

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Interval, Number, RowMetric, Units
from crucibench.metrics.calibration import calibration_error_statistic, top_label
from crucibench.metrics.temperature import (
    Recalibration,
    TemperatureFit,
    recalibrate,
    temperature_statistic,
)
from crucibench.tasks.classification.view import ClassView, Floats, Ints
from crucibench.util.halves import Halves

_TEMPERATURE = "temperature"
_BEFORE = "ece-15-equal-width-top-label-before-temperature"
_AFTER = "ece-15-equal-width-top-label-after-temperature"

METRICS = (_TEMPERATURE, _BEFORE, _AFTER)

SMALLEST_HALF = 10
"""With fewer samples in a half no temperature is fitted on it or judged on it."""


def temperature_numbers(view: ClassView, evidence: Evidence, stream: str) -> list[Number]:
    """Returns the temperature, and the ECE of the same decisions before and after it.

    Args:
        view: of the test samples.
        evidence: whose seed splits them.
        stream: of the scenario.
    """
    logits = view.log_scores
    if logits is None:
        return [Number(metric=metric, undefined=view.why_none) for metric in METRICS]
    halves = Halves(evidence.options.seed, f"{stream}/temperature")
    first = halves.first(view.ids, view.clusters)
    fitting, judging = np.flatnonzero(first), np.flatnonzero(~first)
    smallest = min(len(fitting), len(judging))
    if smallest < SMALLEST_HALF:
        reason = (
            f"{smallest} samples in a half, fewer than the {SMALLEST_HALF} that a temperature "
            "is fitted on"
        )
        return [Number(metric=metric, undefined=reason, n=smallest) for metric in METRICS]
    found = recalibrate(logits, view.targets, fit=fitting, evaluate=judging)
    samples = evidence.needs["test"].samples
    fit_units = Units(samples.take(fitting), "temperature/fit")
    reason = _why_none(found.fit)
    form = None if reason else partial(_form, found.fit, logits[fitting], view.targets[fitting])
    judge_units = Units(samples.take(judging), "temperature/judge")
    return [
        Number(metric=_TEMPERATURE, make=form, undefined=reason, units=fit_units),
        *_before_and_after(found, view.predictions[judging], judge_units, reason),
    ]


def _form(fit: TemperatureFit, logits: Floats, targets: Ints) -> RowMetric:
    # A fit under weights takes some ten passes over all logits and their exponentials.
    return RowMetric(
        temperature_statistic(logits, targets), cost=100 * logits.shape[1],
        closed=lambda level: _log_normal(fit, level),
    )  # fmt: skip


def _why_none(fit: TemperatureFit) -> str:
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
    found: Recalibration, predictions: Ints, units: Units, reason: str
) -> list[Number]:
    """Returns the ECE of the same decisions before and after; T changes no argmax."""

    def error(probabilities: Floats) -> RowMetric:
        judged = top_label(probabilities, found.targets, predictions)
        return RowMetric(calibration_error_statistic(*judged), bias="up")

    before = Number(metric=_BEFORE, make=partial(error, found.before), units=units)
    if reason or found.after is None:
        return [before, Number(metric=_AFTER, undefined=reason, units=units)]
    after = Number(
        metric=_AFTER, make=partial(error, found.after), units=units,
        note="the temperature held fixed",
    )  # fmt: skip
    return [before, after]
