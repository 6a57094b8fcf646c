"""The clean scenario's numbers as statistics of samples: the sheet's twin, which computes none."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from crucibench.contracts.comparable import Comparable
from crucibench.contracts.evidence import Evidence
from crucibench.contracts.statistic import (
    Form,
    Ranking,
    RowMetric,
    Share,
    Statistic,
    TableMetric,
    TableStatistic,
)
from crucibench.stats import Interval, WeightedStatistic
from crucibench_suites.accuracy.answers import Bools, Floats, Ints, read_answers, read_values
from crucibench_suites.accuracy.calibration import calibration_rows
from crucibench_suites.accuracy.classification import class_rows, label_rows, score_rows
from crucibench_suites.accuracy.regression import put_errors
from crucibench_suites.accuracy.rows import Bias, Number


def comparables_of(evidence: Evidence) -> list[Comparable]:
    """Returns the numbers of the test role; those of a fitted temperature and gaps are left out.

    A temperature and what it does are of halves of the samples and of a fit, gaps are of two roles.
    """
    cell = evidence.needs["test"]
    if not len(cell.samples):
        return []
    recorder = Recorder(len(cell.samples))
    if evidence.task.kind == "regression":
        predictions = read_values(cell.records, cell.samples.ids)
        put_errors(recorder, predictions, cell.samples.targets)
        return recorder.comparables
    answers = read_answers(cell, evidence.task)
    label_rows(recorder, answers)
    score_rows(recorder, answers)
    calibration_rows(recorder, answers)
    class_rows(recorder, answers)
    return recorder.comparables


class Recorder:
    """A ledger that keeps how numbers are made of samples; none is made until it is asked for."""

    def __init__(self, n: int) -> None:
        self.comparables: list[Comparable] = []
        self._n = n

    def without(self, metric: str, reason: str, *, n: int | None = None) -> None:
        """Leaves out what is undefined."""

    def share(
        self,
        metric: str,
        hits: Bools,
        among: Ints | None,
        *,
        missing: str,
        group: str = "",
        same_samples: bool = True,
    ) -> None:
        """Records a proportion."""
        mask = None
        if among is not None:
            mask = np.zeros(self._n, dtype=np.bool_)
            mask[among] = True
        self._add(metric, Share(hits, mask, same_samples), group)

    def ranking(self, metric: str, scores: Floats, positives: Bools) -> None:
        """Records an area under the ROC curve."""
        self._add(metric, Ranking(scores, positives))

    def closed(
        self,
        number: Number,
        interval: Callable[[float], Interval],
        statistic: Callable[[], WeightedStatistic],
        *,
        cost: int = 1,
        form: Callable[[], Form] | None = None,
    ) -> None:
        """Records a number by the form that it has, or by its function of weights."""
        once = cache(statistic)

        def of_rows(weights: Floats) -> Floats:
            return once()(weights)

        made = RowMetric(of_rows, cost=cost) if form is None else form()
        self._add(number.metric, made, number.group)

    def resampled(
        self,
        metric: str,
        build: Callable[[], Statistic],
        *,
        cost: int = 1,
        bias: Bias = "none",
        suffix: str = "",
    ) -> None:
        """Records a number by its function of weights."""
        once = cache(build)

        def of_rows(weights: Floats) -> Floats:
            return once()(weights)

        def influence() -> Floats | None:
            found = once().influence
            return None if found is None else found()

        form = RowMetric(of_rows, influence, bias, cost)
        self._add(metric, form)

    def table(
        self, metric: str, statistic: TableStatistic, counts: Ints, truth: Ints, said: Ints
    ) -> None:
        """Records a function of the confusion table."""
        self._add(metric, TableMetric(said, truth, len(counts), statistic))

    def _add(self, metric: str, form: Form, group: str = "") -> None:
        self.comparables.append(Comparable(metric=metric, group=group, form=form))
