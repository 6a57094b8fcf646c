"""The property that everything else rests on: a weight of 2 is the same as the row twice."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crucibench.contracts.statistic import Statistic
from crucibench.metrics import (
    calibration,
    classification,
    probabilistic,
    ranking,
    regression,
    selective,
    table,
    temperature,
)
from crucibench.metrics.statistic import mean_statistic

CLASSES = 3

Build = Callable[..., Statistic]


def _labels(statistic: table.TableStatistic | table.TableRate) -> Build:
    return lambda targets, predictions: table.on_rows(statistic, targets, predictions, CLASSES)


def _calibration(**options: object) -> Build:
    return lambda c, y: calibration.calibration_error_statistic(c, y, bins=4, **options)


ON_LABELS = {
    "accuracy": _labels(classification.accuracy),
    "balanced-accuracy": _labels(classification.balanced_accuracy),
    "f1-macro": _labels(classification.f1_macro),
    "f1-weighted": _labels(classification.f1_weighted),
    "mcc": _labels(classification.mcc),
    "precision": _labels(classification.precision(1)),
    "recall": _labels(classification.recall(1)),
    "f1": _labels(classification.f1(1)),
    "fpr": _labels(classification.false_positive_rate(1)),
}
ON_SCORES = {
    "auroc": ranking.auroc_statistic,
    "average-precision": ranking.average_precision_statistic,
    "recall-at-precision": lambda s, y: ranking.recall_at_precision_statistic(s, y, precision=0.6),
    "ece": _calibration(),
    "ece-left": _calibration(edge="left-closed"),
    "ece-mass": _calibration(binning="equal-mass"),
    "ece-l2": _calibration(norm="l2"),
    "ece-l2-mass-debiased": _calibration(norm="l2", binning="equal-mass", debias=True),
    "mce": _calibration(norm="max"),
    "mce-mass": _calibration(norm="max", binning="equal-mass"),
    "brier": probabilistic.brier_statistic,
    "aurc": selective.aurc_statistic,
    "e-aurc": selective.e_aurc_statistic,
    "accuracy-at-70": lambda s, y: selective.accuracy_at_coverage_statistic(s, y, percent=70),
}
ON_PROBABILITIES = {
    "auroc-ovr": ranking.auroc_ovr_macro_statistic,
    "average-precision-ovr": ranking.average_precision_ovr_macro_statistic,
    "log-loss": probabilistic.log_loss_statistic,
    "brier-sum": probabilistic.brier_sum_statistic,
    "classwise": lambda p, y: calibration.classwise_calibration_error_statistic(p, y, bins=4),
    "top-2": lambda p, y: mean_statistic(classification.hits_at_k(p, y, 2)),
}
ON_NUMBERS = {
    "mae": regression.mae_statistic,
    "rmse": regression.rmse_statistic,
    "median": regression.median_absolute_error_statistic,
    "r2": regression.r2_statistic,
    "spearman": regression.spearman_statistic,
}


def _assert_weights_are_repeats(
    build: Build, columns: tuple[np.ndarray, np.ndarray], counts: np.ndarray, tolerance: float
) -> None:
    weighted = build(*columns)(counts)
    for number, row in zip(weighted, counts, strict=True):
        repeated = build(*(np.repeat(column, row, axis=0) for column in columns)).value()
        if repeated.value is None:
            assert np.isnan(number), (number, repeated)
        else:
            assert number == pytest.approx(repeated.value, rel=tolerance, abs=tolerance)


def _rows(data: st.DataObject) -> tuple[int, np.ndarray]:
    n = data.draw(st.integers(1, 10))
    return n, data.draw(hnp.arrays(np.int64, (3, n), elements=st.integers(0, 3)))


def _draw(data: st.DataObject, n: int, elements: st.SearchStrategy) -> np.ndarray:
    return np.array(data.draw(st.lists(elements, min_size=n, max_size=n)))


classes = st.integers(0, CLASSES - 1)
eighths = st.integers(0, 8).map(lambda i: i / 8)  # few values, so that ties and bin edges are met


@pytest.mark.parametrize("build", ON_LABELS.values(), ids=ON_LABELS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_label_metrics(build: Build, data: st.DataObject) -> None:
    n, counts = _rows(data)
    _assert_weights_are_repeats(
        build, (_draw(data, n, classes), _draw(data, n, classes)), counts, 1e-12
    )


@pytest.mark.parametrize("build", ON_SCORES.values(), ids=ON_SCORES)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_score_metrics(build: Build, data: st.DataObject) -> None:
    n, counts = _rows(data)
    columns = _draw(data, n, eighths), _draw(data, n, st.booleans())
    # The root of a debiased square turns its rounding of 1e-16 into 1e-8 where it is nearly 0.
    tolerance = 1e-7 if build is ON_SCORES["ece-l2-mass-debiased"] else 1e-11
    _assert_weights_are_repeats(build, columns, counts, tolerance)


@pytest.mark.parametrize("build", ON_PROBABILITIES.values(), ids=ON_PROBABILITIES)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_probability_metrics(build: Build, data: st.DataObject) -> None:
    n, counts = _rows(data)
    weights = _draw(data, n, st.lists(st.integers(0, 4), min_size=CLASSES, max_size=CLASSES))
    weights[weights.sum(axis=1) == 0] = 1
    columns = weights / weights.sum(axis=1, keepdims=True), _draw(data, n, classes)
    _assert_weights_are_repeats(build, columns, counts, 1e-12)


@pytest.mark.parametrize("build", ON_NUMBERS.values(), ids=ON_NUMBERS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_regression_metrics(build: Build, data: st.DataObject) -> None:
    n, counts = _rows(data)
    numbers = st.integers(-6, 6).map(lambda i: i / 3)
    _assert_weights_are_repeats(
        build, (_draw(data, n, numbers), _draw(data, n, numbers)), counts, 1e-11
    )


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_temperature(data: st.DataObject) -> None:
    n, counts = _rows(data)
    logits = st.lists(st.integers(-4, 4).map(float), min_size=CLASSES, max_size=CLASSES)
    _assert_weights_are_repeats(
        temperature.temperature_statistic,
        (_draw(data, n, logits), _draw(data, n, classes)),
        counts,
        1e-6,
    )
