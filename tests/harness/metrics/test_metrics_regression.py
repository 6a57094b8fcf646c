"""References: scikit-learn, scipy."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from crucibench.metrics import regression as r


@pytest.mark.parametrize("decimals", [15, 0])
@pytest.mark.parametrize("n", [2, 3, 10, 501])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_agrees_with_scikit_learn_and_scipy(n: int, decimals: int, offset: float) -> None:
    rng = np.random.default_rng(n)
    targets = np.round(rng.normal(size=n) * 3, decimals) + offset
    targets[0] += 1
    predictions = np.round(targets + rng.normal(size=n), decimals)
    predictions[0] += 2
    expected = {
        r.mae_statistic: sk.mean_absolute_error(targets, predictions),
        r.rmse_statistic: sk.root_mean_squared_error(targets, predictions),
        r.median_absolute_error_statistic: sk.median_absolute_error(targets, predictions),
        r.r2_statistic: sk.r2_score(targets, predictions),
        r.spearman_statistic: stats.spearmanr(targets, predictions).statistic,
    }
    for build, value in expected.items():
        assert build(predictions, targets).value().value == pytest.approx(value, abs=1e-9)


def test_weights_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets, predictions = rng.normal(size=(2, 100))
    weights = rng.poisson(1, (5, 100))
    for b, row in enumerate(weights):
        options = {"y_true": targets, "y_pred": predictions, "sample_weight": row}
        for build, reference in (
            (r.mae_statistic, sk.mean_absolute_error),
            (r.rmse_statistic, sk.root_mean_squared_error),
            (r.r2_statistic, sk.r2_score),
        ):
            value = build(predictions, targets)(weights)[b]
            assert value == pytest.approx(reference(**options), abs=1e-12)


def test_what_is_undefined_says_why() -> None:
    assert r.r2_statistic([1.0, 2.0], [3.0, 3.0]).value().reason == "all targets are equal"
    assert r.r2_statistic([1.0], [3.0]).value().value is None
    assert r.spearman_statistic([1.0, 1.0], [2.0, 3.0]).value().reason == (
        "all predictions are equal"
    )
    assert r.spearman_statistic([1.0, 2.0], [3.0, 3.0]).value().reason == "all targets are equal"
    assert r.mae_statistic([], []).value().reason == "no samples"


def test_equal_targets_are_seen_in_a_replicate_too() -> None:
    """0.1 has no exact mean in floats: the spread of five of them isn't exactly 0."""
    targets = np.array([0.1, 0.1, 0.1, 0.7])
    statistic = r.r2_statistic(targets + 1, targets)
    assert np.isnan(statistic([[3, 2, 0, 0], [0, 0, 0, 7]])).all()
    assert np.isfinite(statistic([[3, 2, 0, 1]])).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"targets: expected finite numbers, got inf at \[1\]"):
        r.mae_statistic([0.0, 0.0], [0.0, np.inf])
    with pytest.raises(ValueError, match="predictions and targets: expected equally many rows"):
        r.rmse_statistic([0.0], [0.0, 1.0])
