"""Numbers of halves and of two roles: the calibrating temperature, and train minus test."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pandas as pd
from scipy.special import ndtri

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import Interval, Number, RowMetric, Units
from crucibench.metrics.calibration import calibration_error_statistic, top_label
from crucibench.metrics.temperature import (
    Recalibration,
    TemperatureFit,
    recalibrate,
    temperature_statistic,
)
from crucibench.stats import SumStatistic, difference, newcombe_unpaired, weighted_ratio
from crucibench.tasks.classification.view import ClassView, Floats, Ints
from crucibench.util.ids import Halves

_TEMPERATURE = "temperature"
_BEFORE = "ece-15-equal-width-top-label-before-temperature"
_AFTER = "ece-15-equal-width-top-label-after-temperature"

_CALIBRATING = (_TEMPERATURE, _BEFORE, _AFTER)

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
        return [Number(metric=metric, undefined=view.why_none) for metric in _CALIBRATING]
    halves = Halves(evidence.options.seed, f"{stream}/temperature")
    first = halves.first(view.names, view.clusters)
    fitting, judging = np.flatnonzero(first), np.flatnonzero(~first)
    smallest = min(len(fitting), len(judging))
    if smallest < SMALLEST_HALF:
        reason = (
            f"{smallest} samples in a half, fewer than the {SMALLEST_HALF} that a temperature "
            "is fitted on"
        )
        return [Number(metric=metric, undefined=reason, n=smallest) for metric in _CALIBRATING]
    found = recalibrate(logits, view.targets, fit=fitting, evaluate=judging)
    samples = evidence.needs["test"].samples
    fit_units = Units(samples.take(fitting), "temperature/fit")
    reason = _why_none(found.fit)
    form = (
        None
        if reason
        else partial(_temperature_form, found.fit, logits[fitting], view.targets[fitting])
    )
    judge_units = Units(samples.take(judging), "temperature/judge")
    return [
        Number(metric=_TEMPERATURE, make=form, undefined=reason, units=fit_units),
        *_before_and_after(found, view.predictions[judging], judge_units, reason),
    ]


def _temperature_form(fit: TemperatureFit, logits: Floats, targets: Ints) -> RowMetric:
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


# The gap between the train and the test role.

_GAPS = ("top-1-train-minus-test", "mae-train-minus-test")


def gap_numbers(evidence: Evidence) -> list[Number]:
    """Returns train minus test, or nothing where there is no pass over train."""
    train, test = evidence.needs.get("train"), evidence.needs["test"]
    kind = evidence.task.definition
    metric = f"{kind.headline}-train-minus-test"
    if train is None or not len(train.samples) or metric not in _GAPS:
        return []
    parts = [kind.quality(kind.view(cell, evidence.task)) for cell in (train, test)]
    roles = np.repeat([0, 1], [len(part) for part in parts])
    units = Units(_both(train.samples, test.samples), "train-minus-test", roles)
    make = partial(_gap_form, *parts, proportion=evidence.task.one_class)
    return [Number(metric=metric, make=make, units=units)]


def _gap_form(train: Floats, test: Floats, *, proportion: bool) -> RowMetric:
    counts = [(int(part.sum()), len(part)) for part in (train, test)]

    def closed(level: float) -> Interval:
        return newcombe_unpaired(*counts[0], *counts[1], level)

    return RowMetric(_gap(train, test), closed=closed if proportion else None)


def _gap(train: Floats, test: Floats) -> SumStatistic:
    numbers = np.concatenate([train, test])
    of_train = np.repeat([1.0, 0.0], [len(train), len(test)])
    gap = difference(
        weighted_ratio(numbers * of_train, of_train),
        weighted_ratio(numbers * (1 - of_train), 1 - of_train),
    )
    if not isinstance(gap, SumStatistic):
        raise TypeError(f"gap: expected a SumStatistic, got {type(gap).__name__}")
    return gap


def _both(train: Samples, test: Samples) -> Samples:
    """Returns the samples of both roles, train's first; a cluster in both counts as two."""
    clusters = None
    if train.clusters is not None and test.clusters is not None:
        named = [
            [f"{place} {name}" for name in samples.clusters]
            for place, samples in enumerate((train, test))
            if samples.clusters is not None
        ]
        clusters = np.array([name for part in named for name in part], dtype=object)
    ids = [f"{place} {name}" for place, part in enumerate((train, test)) for name in part.ids]
    return Samples(
        np.array(ids, dtype=object), np.concatenate([train.targets, test.targets]),
        pd.DataFrame(index=range(len(ids))), clusters,
    )  # fmt: skip
