"""The temperature that would calibrate a model: softmax(logits / T) of lowest log loss.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017. T divides all logits of a sample,
so that it never changes which class is largest. Fit it on one half of the samples and judge it on
the other: on its own half it looks better than it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from crucibench.contracts.statistic import Statistic, Value
from crucibench.metrics._inputs import (
    FloatArray,
    IntArray,
    class_indices,
    float_matrix,
    require_same_length,
)
from crucibench.metrics.probabilistic import by_column, softmax

LOWEST, HIGHEST = 1e-3, 1e3
"""The temperatures that are searched."""

_UNIDENTIFIED = "every sample's logits are equal, so that all temperatures are the same"
_STEPS = 100
_TOLERANCE = 1e-12


@final
@dataclass(frozen=True, kw_only=True)
class TemperatureFit:
    """A fitted temperature.

    Attributes:
        temperature: between `LOWEST` and `HIGHEST`; undefined without samples or where all logits
            of every sample are equal.
        at_bound: whether the log loss still falls at the end of the searched range: towards 0 for
            samples that are all predicted rightly, upwards for a model no better than chance.
        log_standard_error: of ln T, from the curvature and spread of the sample losses (sandwich
            estimator, for independent samples); None at a bound or where it is undefined.
    """

    temperature: Value
    at_bound: bool
    log_standard_error: float | None


def fit_temperature(logits: ArrayLike, targets: ArrayLike) -> TemperatureFit:
    """Finds the temperature of lowest mean log loss, a convex problem in 1 / T.

    Args:
        logits: finite, shape (n, K); logarithms of probabilities do as well.
        targets: class indices, shape (n,).

    Returns:
        The fit, converged to 1e-12 in ln T.

    Raises:
        ValueError: if a logit isn't finite, an index is out of range, or lengths differ.
    """
    margins = _margins(logits, targets)
    n = len(margins)
    if n == 0 or not margins.any():
        value = Value(value=None, n=n, reason=_UNIDENTIFIED if n else "no samples")
        return TemperatureFit(temperature=value, at_bound=False, log_standard_error=None)
    weights = np.full(n, 1 / n)
    inverse, at_bound = _lowest_loss(margins, weights)
    note = "at the end of the searched range" if at_bound else ""
    error = None if at_bound else _log_standard_error(margins, inverse)
    return TemperatureFit(
        temperature=Value(value=1 / inverse, n=n, note=note),
        at_bound=at_bound,
        log_standard_error=error,
    )


def apply_temperature(logits: ArrayLike, temperature: float) -> FloatArray:
    """Returns softmax(logits / temperature), float64, shape (n, K).

    Raises:
        ValueError: if the temperature isn't a positive number or a logit isn't finite.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature: expected a number > 0, got {temperature}")
    return softmax(float_matrix("logits", logits) / temperature)


@final
@dataclass(frozen=True, kw_only=True)
class Recalibration:
    """What a temperature fitted on one half of the samples does to the other half.

    Attributes:
        fit: the temperature and how it was found.
        before: probabilities of the evaluation rows as they are, shape (m, K).
        after: the same at the fitted temperature; None where there is none.
        targets: the evaluation rows' class indices, shape (m,).
    """

    fit: TemperatureFit
    before: FloatArray
    after: FloatArray | None
    targets: IntArray


def recalibrate(
    logits: ArrayLike, targets: ArrayLike, *, fit: ArrayLike, evaluate: ArrayLike
) -> Recalibration:
    """Fits the temperature on some rows and applies it to others.

    Args:
        logits: finite, shape (n, K).
        targets: class indices, shape (n,).
        fit: row indices to fit on, shape (f,).
        evaluate: row indices to judge on, shape (m,), none of them in `fit`.

    Raises:
        ValueError: if the halves share a row, an index is out of range, or as `fit_temperature`.
    """
    matrix = float_matrix("logits", logits)
    truth = class_indices("targets", targets, matrix.shape[1])
    n = require_same_length(logits=matrix, targets=truth)
    fitted = class_indices("fit", fit, n, what="row indices")
    judged = class_indices("evaluate", evaluate, n, what="row indices")
    taken = np.zeros(n, dtype=np.bool_)
    taken[fitted] = True
    shared = judged[taken[judged]]
    if len(shared):
        raise ValueError(f"evaluate: expected rows that aren't in fit, got {shared[:5].tolist()}")
    found = fit_temperature(matrix[fitted], truth[fitted])
    temperature = found.temperature.value
    return Recalibration(
        fit=found,
        before=softmax(rest := by_column(matrix[judged])),
        after=None if temperature is None else apply_temperature(rest, temperature),
        targets=truth[judged],
    )


def temperature_statistic(logits: ArrayLike, targets: ArrayLike) -> Statistic:
    """Returns the fitted temperature as a statistic; arguments as `fit_temperature`.

    Every row of weights is a fit of its own, some ten passes over the logits. For many samples
    `TemperatureFit.log_standard_error` gives an interval at the cost of one.
    """
    margins = _margins(logits, targets)
    some = np.asarray(margins.any(axis=1))

    def compute(weights: FloatArray) -> FloatArray:
        fits = np.full(len(weights), np.nan)
        for b, row in enumerate(weights):
            rows = np.flatnonzero(row)
            if some[rows].any():
                drawn = margins if len(rows) == len(margins) else by_column(margins[rows])
                fits[b] = 1 / _lowest_loss(drawn, row[rows] / row.sum())[0]
        return fits

    return Statistic(n=len(margins), compute=compute, undefined=_UNIDENTIFIED, width=margins.size)


class _Slopes(NamedTuple):
    """Per sample: the first and second derivative of its log loss by 1 / T."""

    first: FloatArray
    second: FloatArray

    def mean(self, weights: FloatArray) -> tuple[float, float]:
        """Returns both averaged under weights (n,) that sum to 1; not by BLAS, as in `_rows`."""
        return float((weights * self.first).sum()), float((weights * self.second).sum())


def _margins(logits: ArrayLike, targets: ArrayLike) -> FloatArray:
    """Logits less the target's own: a sample's log loss is ln sum_k exp(margin_k / T)."""
    matrix = float_matrix("logits", logits)
    truth = class_indices("targets", targets, matrix.shape[1])
    require_same_length(logits=matrix, targets=truth)
    return by_column(matrix - np.take_along_axis(matrix, truth[:, None], axis=1))


def _slopes(margins: FloatArray, inverse: float) -> _Slopes:
    powers = margins * inverse
    powers -= powers.max(axis=1, keepdims=True)
    np.exp(powers, out=powers)
    total = powers.sum(axis=1)
    powers *= margins
    mean = powers.sum(axis=1) / total
    powers *= margins
    return _Slopes(mean, powers.sum(axis=1) / total - mean**2)


def _lowest_loss(margins: FloatArray, weights: FloatArray) -> tuple[float, bool]:
    """Returns 1 / T of lowest weighted loss, and whether it is at an end of the range.

    Newton steps on the slope as a function of ln(1 / T), kept inside a bracket by bisection.
    """
    low, high = -log(HIGHEST), -log(LOWEST)
    if _slopes(margins, exp(high)).mean(weights)[0] <= 0:
        return exp(high), True
    if _slopes(margins, exp(low)).mean(weights)[0] >= 0:
        return exp(low), True
    at = 0.0
    for _ in range(_STEPS):
        inverse = exp(at)
        slope, curvature = _slopes(margins, inverse).mean(weights)
        low, high = (low, at) if slope > 0 else (at, high)
        change = curvature * inverse
        target = at - slope / change if change > 0 else low
        if not low < target < high:
            target = (low + high) / 2
        moved, at = abs(target - at), target
        if moved < _TOLERANCE:
            break
    return exp(at), False


def _log_standard_error(margins: FloatArray, inverse: float) -> float | None:
    slopes = _slopes(margins, inverse)
    curvature = float(slopes.second.mean())
    if curvature <= 0:
        return None
    return sqrt(float((slopes.first**2).mean()) / len(margins)) / curvature / inverse
