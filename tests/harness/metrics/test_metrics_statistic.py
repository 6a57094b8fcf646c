from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crucibench.contracts import statistic
from crucibench.contracts.statistic import Statistic, TableMetric, Value, value_of
from crucibench.metrics import (
    calibration,
    classification,
    probabilistic,
    ranking,
    regression,
    selective,
    temperature,
)
from crucibench.metrics.calibration import calibration_error_statistic
from crucibench.metrics.forms import as_rows
from crucibench.metrics.probabilistic import brier_statistic, log_loss_statistic
from crucibench.metrics.ranking import (
    auroc_ovr_macro_statistic,
    auroc_statistic,
    average_precision_ovr_macro_statistic,
    average_precision_statistic,
    recall_at_precision_statistic,
)
from crucibench.metrics.regression import rmse_statistic
from crucibench.metrics.selective import aurc_statistic, e_aurc_statistic
from crucibench.metrics.statistic import SharedParts, mean_statistic
from crucibench.stats import replicates_of, weighted_ratio
from crucibench.stats.weighted import sums_of


def test_a_value_is_a_number_or_a_reason() -> None:
    assert Value(value=0.5, n=4, note="of 4").note == "of 4"
    assert Value(value=None, n=0, reason="no samples").value is None
    for value, reason, message in (
        (None, "", "expected a value or a reason"),
        (1.0, "why", "expected a value or a reason"),
        (np.inf, "", "expected a finite value, got inf"),
    ):
        with pytest.raises(ValueError, match=message):
            Value(value=value, n=3, reason=reason)


def test_nan_becomes_none_with_its_reason() -> None:
    assert value_of(np.nan, 2, reason="no positive sample") == Value(
        value=None, n=2, reason="no positive sample"
    )
    assert value_of(0.25, 2, reason="unused") == Value(value=0.25, n=2)
    assert value_of(np.inf, 2, reason="unused").reason == "too large for a 64-bit float"


def test_a_mean_under_weights() -> None:
    mean = mean_statistic([1.0, 2.0, 6.0])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 0, 0]])
    np.testing.assert_allclose(mean(weights), [3.0, 8 / 3, np.nan])
    assert mean.value() == Value(value=3.0, n=3)


def test_without_rows_everything_is_undefined() -> None:
    empty = mean_statistic([])
    assert empty.value() == Value(value=None, n=0, reason="no samples")
    assert np.isnan(empty(np.zeros((2, 0)))).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(3), r"weights: expected shape \(B, 3\), got \(3,\)"),
        (np.ones((2, 4)), r"weights: expected shape \(B, 3\), got \(2, 4\)"),
        ([[1, -1, 1]], r"weights: expected numbers >= 0, got -1"),
        ([[1, np.nan, 1]], r"weights: expected numbers >= 0, got nan"),
    ],
)
def test_bad_weights_are_refused(weights: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mean_statistic([1.0, 2.0, 3.0])(weights)


def test_bad_columns_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values: expected shape \(n,\), got \(1, 2\)"):
        mean_statistic([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"values: expected finite numbers, got nan at \[1\]"):
        mean_statistic([1.0, np.nan])


def test_long_weights_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def compute(weights: np.ndarray) -> np.ndarray:
        sizes.append(len(weights))
        return weights[:, 0]

    monkeypatch.setattr(statistic, "_BLOCK", 12)
    weights = np.arange(21).reshape(7, 3)
    assert Statistic(n=3, compute=compute)(weights).tolist() == weights[:, 0].tolist()
    assert sizes == [4, 3]
    sizes.clear()
    Statistic(n=3, compute=compute, width=100)(weights)
    assert sizes == [1] * 7


def test_weights_are_left_as_they_were() -> None:
    weights = np.ones((2, 3))
    mean_statistic([1.0, 2.0, 3.0])(weights)
    assert (weights == 1).all()


_RNG = np.random.default_rng(0)
_N = 60
_TIED = _RNG.integers(0, 12, _N) / 12
_TRUE = _RNG.random(_N) < 0.4
_CLASS = _RNG.integers(0, 3, _N)
_MATRIX = _RNG.dirichlet(np.ones(3), _N)


@pytest.mark.parametrize(
    "statistic",
    [
        auroc_statistic(_TIED, _TRUE),
        average_precision_statistic(_TIED, _TRUE),
        *(
            build(level, _TRUE)
            for build in (selective.aurc_statistic, selective.e_aurc_statistic)
            for level in (_TIED, _MATRIX[:, 0])
        ),
        auroc_ovr_macro_statistic(_MATRIX, _CLASS),
        average_precision_ovr_macro_statistic(_MATRIX, _CLASS),
        calibration_error_statistic(_TIED, _TRUE),
        brier_statistic(_TIED, _TRUE),
        log_loss_statistic(_MATRIX, _CLASS),
        rmse_statistic(_TIED, 2 * _TIED + _RNG.normal(size=_N)),
    ],
)
def test_influences_are_derivatives(statistic: Statistic) -> None:
    step = 1e-6
    up, down = np.ones((_N, _N)) + step * np.eye(_N), np.ones((_N, _N)) - step * np.eye(_N)
    assert statistic.influence is not None
    found = statistic.influence()
    expected = (statistic(up) - statistic(down)) / (2 * step)
    expected -= expected.mean()
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert found.sum() == pytest.approx(0.0, abs=1e-12)


def test_errors_that_are_all_zero_have_no_influence() -> None:
    influence = rmse_statistic(_TIED, _TIED).influence
    assert influence is not None and not influence().any()


CLASSES = 3

Build = Callable[..., Statistic]


def _calibration(**options: object) -> Build:
    return lambda c, y: calibration.calibration_error_statistic(c, y, bins=4, **options)


ON_SCORES = {
    "auroc": ranking.auroc_statistic,
    "average-precision": ranking.average_precision_statistic,
    "recall-at-precision": lambda s, y: ranking.recall_at_precision_statistic(s, y, precision=0.6),
    "ece": _calibration(),
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


def test_parts_are_shared_of_weights_that_nobody_can_change_alone() -> None:
    asked: list[float] = []

    def compute(weights: np.ndarray) -> float:
        asked.append(float(weights.sum()))
        return asked[-1]

    shared = SharedParts(compute)
    open_to_change = np.ones((2, 3))
    shared(open_to_change)
    open_to_change[0, 0] = 5.0
    assert shared(open_to_change) == 10.0
    block = np.ones((4, 3))
    block.flags.writeable = False
    asked.clear()
    assert [shared(block[:2]), shared(block[:2]), shared(block[2:]), shared(block)] == [6, 6, 6, 12]
    assert asked == [6, 6, 12]
    # A block that is gone may lend its address to the next one.
    for total in range(20):
        fresh = np.full((4, 3), float(total))
        fresh.flags.writeable = False
        assert shared(fresh) == 12.0 * total
        del fresh


def _rare(rng: np.random.Generator, n: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    truth = rng.random(n) < share
    return np.round(rng.normal(size=n) + 1.5 * truth, 2), truth


@pytest.mark.parametrize("how", ["samples", "clusters", "strata"])
def test_groups_of_samples_vary_as_samples_do(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing 1,000 groups of samples gives the replicates that drawing all samples gives."""
    rng = np.random.default_rng(5)
    n = 6000
    scores, truth = _rare(rng, n, 0.02)
    confidence = rng.beta(6, 2, n)
    right = rng.random(n) < confidence**2
    codes = rng.integers(0, 3000, n)
    given: dict[str, Any] = {
        "samples": {}, "clusters": {"clusters": codes}, "strata": {"strata": truth.astype(int)}
    }[how]  # fmt: skip
    errors: dict[str, Any] = {
        f"{binning} {norm}": calibration_error_statistic(
            confidence, right, binning=binning, norm=norm, debias=norm == "l2"
        )
        for binning in ("equal-width", "equal-mass") for norm in ("l1", "l2", "max")
    }  # fmt: skip
    cells = TableMetric(rng.integers(0, 3, n), rng.integers(0, 3, n), 3, classification.mcc)
    asked = errors | {
        "ap": average_precision_statistic(scores, truth),
        "recall": recall_at_precision_statistic(scores, truth, precision=0.5),
        "aurc": aurc_statistic(scores, ~truth),
        "e-aurc": e_aurc_statistic(-scores, truth),
        "mean": mean_statistic(confidence),
        "table": as_rows(cells),
        "ratio": weighted_ratio(right & truth, truth),
    }
    draws: dict[str, Any] = {"replicates": 1000, "seed": 3, "stream": "groups"}
    assert all(sums_of(each) is not None for each in asked.values())
    grouped = replicates_of(asked, n, **draws, **given)
    monkeypatch.setattr("crucibench.stats.resampling.MOST_UNITS", n)
    plain = replicates_of(asked, n, **draws, **given)
    for name in asked:
        spread, own = np.nanstd(plain[name]), np.nanstd(grouped[name])
        assert own == pytest.approx(spread, rel=0.15), name
        assert np.nanmean(grouped[name]) == pytest.approx(
            np.nanmean(plain[name]), abs=0.25 * spread
        ), name
