"""Metrics of regression, one entry each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from crucibench.contracts.metric import Metric
from crucibench.contracts.statistic import Form, RowMetric
from crucibench.metrics.catalogue import metric_info
from crucibench.metrics.regression import (
    mae_statistic,
    median_absolute_error_statistic,
    r2_statistic,
    rmse_statistic,
    spearman_statistic,
)
from crucibench.tasks.regression.kind import NumberView


def _entry(id_: str, statistic: Any, reference: Any) -> Metric:
    def form(view: NumberView) -> Form:
        return RowMetric(statistic(view.predictions, view.targets))

    return Metric(
        info=metric_info(id_), kinds=("regression",), form=form,
        reference=lambda view: float(reference(view.targets, view.predictions)),
    )  # fmt: skip


def _scikit(name: str) -> Any:
    def compute(targets: Any, predictions: Any) -> Any:
        import sklearn.metrics

        return getattr(sklearn.metrics, name)(targets, predictions)

    return compute


def _spearman(targets: Any, predictions: Any) -> float:
    from scipy.stats import spearmanr

    if len(np.unique(targets)) < 2 or len(np.unique(predictions)) < 2:
        return math.nan
    return float(spearmanr(targets, predictions).statistic)


MAE = _entry("mae", mae_statistic, _scikit("mean_absolute_error"))
RMSE = _entry("rmse", rmse_statistic, _scikit("root_mean_squared_error"))
MEDIAN_ABSOLUTE_ERROR = _entry(
    "median-absolute-error", median_absolute_error_statistic, _scikit("median_absolute_error")
)
R2 = _entry("r2", r2_statistic, _scikit("r2_score"))
SPEARMAN = _entry("spearman", spearman_statistic, _spearman)
