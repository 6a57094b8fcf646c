"""Ways to make numbers of answers: shares, means, what is lost, over one set of samples or two."""

from __future__ import annotations

import numpy as np
import pandas as pd

from crucibench.contracts.data import Samples
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.statistic import Form, Number, RowMetric, Units
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.stats import (
    SumStatistic,
    difference,
    newcombe_paired,
    newcombe_unpaired,
    weighted_mean,
    weighted_ratio,
)
from crucibench.tasks.classification.view import Bools, ClassView, Floats


def number(
    metric: MetricInfo, form: Form, point: str = "", *, note: str = "", undefined: str = "",
    units: Units | None = None,
) -> Number:  # fmt: skip
    """Returns a number in a form that is made already."""
    return Number(
        metric=metric.id, make=lambda: form, point=point, note=note, undefined=undefined,
        units=units,
    )  # fmt: skip


def without(metric: MetricInfo, reason: str, point: str = "", units: Units | None = None) -> Number:
    """Returns a number that is undefined, and why."""
    return Number(metric=metric.id, point=point, undefined=reason, units=units)


def mean_of(values: Floats) -> RowMetric:
    """Returns a mean over samples."""
    numbers = np.asarray(values, dtype=np.float64)
    return RowMetric(weighted_mean(values), lambda: (numbers - numbers.mean()) / len(numbers))


def lost(first: Bools, second: Bools) -> RowMetric:
    """Returns one proportion less another of the same samples."""
    counts = [int((one & other).sum()) for one in (first, ~first) for other in (second, ~second)]
    both, only_first, only_second, neither = counts
    return RowMetric(
        difference(weighted_mean(first), weighted_mean(second)),
        mean_of(first.astype(np.float64) - second).influence,
        closed=lambda level: newcombe_paired(both, only_first, only_second, neither, level),
    )


def calibration(answers: ClassView) -> RowMetric:
    """Returns the expected calibration error, which noise adds to."""
    error = calibration_error_statistic(answers.known_confidence, answers.correct)
    return RowMetric(error, error.influence, bias="up")


def extreme_of(means: Floats, *, highest: bool) -> RowMetric:
    """Returns the lowest or highest of several means over samples, shape (means, n)."""
    columns = np.concatenate([np.ones((1, means.shape[1])), means])

    def of_sums(sums: Floats) -> Floats:
        found = sums[:, 1:] / sums[:, :1]
        return np.asarray(found.max(axis=1) if highest else found.min(axis=1))

    return RowMetric(SumStatistic(columns, of_sums))


def both_sets(home: Samples, here: Samples) -> Units:
    """Returns the samples of two sets to be drawn from apart, home's first.

    Where either set names clusters these are drawn whole; a cluster in both counts as two, and a
    sample without one as one.
    """
    parts = (home, here)
    clustered = any(one.clusters is not None for one in parts)
    named = [
        [f"{place}/{name}" for name in (one.ids if one.clusters is None else one.clusters)]
        for place, one in enumerate(parts)
    ]
    samples = Samples(
        ids=np.concatenate(
            [np.array([f"{place}/{name}" for name in one.ids], dtype=object)
             for place, one in enumerate(parts)]
        ),
        targets=np.concatenate([one.targets for one in parts]),
        groups=pd.DataFrame(index=range(len(home) + len(here))),
        clusters=np.array([*named[0], *named[1]], dtype=object) if clustered else None,
    )  # fmt: skip
    return Units(samples, "both", np.repeat([0, 1], [len(home), len(here)]))


def mean_here_minus_home(home: Floats, here: Floats) -> SumStatistic:
    """Returns the difference of two means as a statistic of both sets' weights."""
    numbers = np.concatenate([home, here])
    of_home = np.repeat([1.0, 0.0], [len(home), len(here)])
    gap = difference(
        weighted_ratio(numbers * (1 - of_home), 1 - of_home),
        weighted_ratio(numbers * of_home, of_home),
    )
    if not isinstance(gap, SumStatistic):
        raise TypeError(f"gap: expected a SumStatistic, got {type(gap).__name__}")
    return gap


def accuracy_lost_from(home: ClassView, here: ClassView) -> RowMetric:
    """Returns what accuracy has lost from home, samples being others there."""
    counts = [(int(one.correct.sum()), len(one)) for one in (home, here)]
    wrong = [(~one.correct).astype(np.float64) for one in (home, here)]
    return RowMetric(
        mean_here_minus_home(wrong[0], wrong[1]),
        closed=lambda level: newcombe_unpaired(*counts[0], *counts[1], level),
    )
