"""Weights of samples along a column, and the numbers of the population that they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from crucibench.contracts.columns import INPUT
from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Number, RowMetric
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.stats import SumStatistic, difference, weighted_ratio
from crucibench.stats.ranks import average_ranks
from crucibench.tasks.classification.view import Floats
from crucibench_suites.shift import metrics
from crucibench_suites.shift.answers import clean_answers
from crucibench_suites.shift.names import DIRECTIONS, population_point
from crucibench_suites.shift.numbers import number, without

_FIXED = "weights follow from ranks in this sample, and are held fixed"


class _Weighted(NamedTuple):
    """One point: weights and what they weight.

    Attributes:
        point: where it is read.
        weights: shape (n,), 0 where the column is missing.
        known: whether the column is there, (n,).
    """

    point: str
    weights: Floats
    known: Floats

    @property
    def effective(self) -> float:
        """Kish's effective sample size."""
        return effective_size(self.weights)


def effective_size(weights: Floats) -> float:
    """Returns (sum w)**2 / sum w**2 of weights of shape (n,); 0 where none is left."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def population_weights(values: Floats, shape: str, level: float, towards: str) -> Floats:
    """Returns importance weights along a column.

    Args:
        values: of the column, shape (n,); NaN where missing.
        shape: ``tail`` keeps the share `level` of the samples that is the lowest or highest, ties
            together; ``tilt`` weights by exp(level * z), z being the mid-rank scaled to mean 0 and
            variance 1.
        level: see `shape`.
        towards: ``low`` or ``high``.

    Returns:
        Shape (n,), of mean 1 over the samples kept by a tilt; 0 or 1 of a tail.
    """
    known = ~np.isnan(values)
    weights = np.zeros(len(values))
    if not known.any():
        return weights
    ranks = (average_ranks(values[known]) - 0.5) / int(known.sum())
    ranks = {"low": 1.0 - ranks, "high": ranks}[towards]
    tilted = np.exp(level * np.sqrt(12.0) * (ranks - 0.5))
    weights[known] = {"tail": ranks > 1.0 - level, "tilt": tilted / tilted.mean()}[shape]
    return weights


def population_numbers(evidence: Evidence, parameters: Mapping[str, Any]) -> list[Number]:
    """Returns the numbers of the clean pass under every weighting."""
    if not len(evidence.own.samples):
        return []
    mean, change, values, sign = _measured(evidence)
    numbers = []
    for one in _weightings(evidence, parameters):
        size = f"effective sample size {one.effective:.1f} of {int(one.known.sum())}; {_FIXED}"
        if not one.weights.any():
            why = "no sample has the column"
            numbers += [without(metric, why, one.point) for metric in (mean, change)]
            continue
        weighted, less = _mean(values, one.weights), _less(values, one, sign)
        numbers += [
            number(mean, RowMetric(weighted), one.point, note=size),
            number(change, RowMetric(less), one.point, note=size),
        ]
    return numbers


def effective_sizes(evidence: Evidence, parameters: Mapping[str, Any]) -> Scored:
    """Scores how many samples each weighting leaves: it follows from the column alone."""
    n = len(evidence.own.samples)
    return Scored([_size(one, n) for one in _weightings(evidence, parameters)] if n else [])


def audit_population(evidence: Evidence, scenario: Any) -> Findings:
    """Flags weightings that leave few effective samples."""
    if not len(evidence.own.samples):
        return [no_samples()]
    least = evidence.options.min_group_size
    few = {
        one.point: one.effective
        for one in _weightings(evidence, scenario.parameters)
        if one.effective < least
    }
    if not few:
        return []
    point = min(few, key=lambda name: few[name])
    message = (
        f"the weights leave {few[point]:.1f} effective samples at {point}, fewer than {least}: few "
        "samples decide these numbers"
    )
    return [
        Finding(
            code="few-effective-samples", severity=Severity.SUSPECT, message=message, evidence=few
        )
    ]


def _measured(evidence: Evidence) -> tuple[Any, Any, Floats, float]:
    """Returns the metrics, what is averaged, and the sign of the change that is worse."""
    samples, clean = evidence.own.samples, evidence.needs["clean"]
    if evidence.task.one_number:
        predicted = clean.records.aligned(samples.ids).array("prediction").astype(np.float64)
        return metrics.WEIGHTED_MAE, metrics.WEIGHTED_RISE, np.abs(predicted - samples.targets), 1.0
    right = clean_answers(clean, samples.ids, evidence.task).correct.astype(np.float64)
    return metrics.WEIGHTED_TOP_1, metrics.WEIGHTED_DROP, right, -1.0


def _weightings(evidence: Evidence, parameters: Mapping[str, Any]) -> Iterator[_Weighted]:
    records = evidence.needs["inputs"].records
    rows = pd.Index(records.ids).get_indexer(pd.Index(evidence.own.samples.ids))
    values = records.array(INPUT + parameters["column"])[rows]
    if values.dtype.kind != "f":
        raise ValueError(f"shift.columns: expected numeric columns, got {parameters['column']!r}")
    known = (~np.isnan(values)).astype(np.float64)
    for severity, level in parameters["levels"].items():
        for towards in DIRECTIONS:
            weights = population_weights(values, parameters["shape"], level, towards)
            yield _Weighted(population_point(int(severity), towards), weights, known)


def _mean(values: Floats, weights: Floats) -> SumStatistic:
    return weighted_ratio(values * weights, weights)


def _less(values: Floats, one: _Weighted, sign: float) -> Any:
    weighted, plain = _mean(values, one.weights), _mean(values, one.known)
    return difference(weighted, plain) if sign > 0 else difference(plain, weighted)


def _size(one: _Weighted, n: int) -> Row:
    why = "no interval: it follows from the column alone"
    return Row(metric=metrics.EFFECTIVE.id, value=one.effective, n=n, reason=why, point=one.point)
