"""A million samples: right, in memory of a few columns, and the same bits for any block size."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from crucibench.contracts import statistic
from crucibench.contracts.statistic import Statistic
from crucibench.metrics import (
    calibration,
    probabilistic,
    ranking,
    regression,
    selective,
    temperature,
)
from crucibench.metrics.numbers import numbers_of
from crucibench.tasks.classification import metrics
from crucibench.tasks.classification.view import ClassView
from crucibench.util.names import Names

N = 1_000_000
BUILDS: dict[str, Callable[..., Statistic]] = {
    "auroc": ranking.auroc_statistic,
    "average-precision": ranking.average_precision_statistic,
    "ece": calibration.calibration_error_statistic,
    "ece-mass": lambda c, y: calibration.calibration_error_statistic(c, y, binning="equal-mass"),
    "aurc": selective.aurc_statistic,
    "e-aurc": selective.e_aurc_statistic,
    "median": regression.median_absolute_error_statistic,
    "r2": regression.r2_statistic,
    "spearman": regression.spearman_statistic,
}


@pytest.fixture(scope="module")
def million() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    confidence = rng.random(N)
    return confidence, rng.random(N) < confidence


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_memory_is_a_few_columns(
    build: Callable[..., Statistic], million: tuple[np.ndarray, np.ndarray]
) -> None:
    tracemalloc.start()
    try:
        value = build(*million).value().value
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert value is not None
    assert peak < 20 * 8 * N


def test_ranking_agrees_with_scikit_learn(million: tuple[np.ndarray, np.ndarray]) -> None:
    confidence, correct = million
    auroc = ranking.auroc_statistic(confidence, correct).value().value
    assert auroc == pytest.approx(sk.roc_auc_score(correct, confidence), abs=1e-9)
    precision = ranking.average_precision_statistic(confidence, correct).value().value
    expected = sk.average_precision_score(correct, confidence)
    assert precision == pytest.approx(expected, abs=1e-9)
    spearman = regression.spearman_statistic(confidence, correct).value().value
    expected = stats.spearmanr(confidence, correct).statistic
    assert spearman == pytest.approx(expected, abs=1e-9)


def test_aurc_with_many_ties_agrees_with_a_plain_sum(
    million: tuple[np.ndarray, np.ndarray],
) -> None:
    """Differences of harmonic numbers must not lose digits over a million samples."""
    confidence, correct = np.round(million[0], 5), million[1]
    expected = selective.risk_coverage_curve(confidence, correct).risk.mean()
    aurc = selective.aurc_statistic(confidence, correct).value().value
    assert aurc == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_replicates_do_not_depend_on_their_block(
    build: Callable[..., Statistic],
    million: tuple[np.ndarray, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = slice(0, 1000)
    built = build(million[0][rows], million[1][rows])
    weights = np.random.default_rng(1).poisson(1, (40, 1000))
    whole = built(weights)
    monkeypatch.setattr(statistic, "_BLOCK", 1)
    assert built(weights).tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "build",
    [
        calibration.classwise_calibration_error_statistic,
        ranking.auroc_ovr_macro_statistic,
        probabilistic.log_loss_statistic,
        temperature.temperature_statistic,
    ],
)
def test_replicates_of_many_classes_do_not_either(
    build: Callable[..., Statistic], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    probabilities, targets = rng.dirichlet(np.ones(5), 400), rng.integers(0, 5, 400)
    built, weights = build(probabilities, targets), rng.poisson(1, (20, 400))
    whole = built(weights)
    monkeypatch.setattr(statistic, "_BLOCK", 1)
    assert built(weights).tobytes() == whole.tobytes()


def test_of_very_many_classes_none_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(count: int) -> list[tuple[str, bool, str]]:
        labels = np.arange(3)
        view = ClassView(
            names=Names(labels.astype(str).astype(object)), targets=labels, predictions=labels,
            classes=tuple(map(str, range(count))),
        )  # fmt: skip
        numbers = numbers_of([metrics.PRECISION], view)
        return [(one.group, one.make is None, one.undefined) for one in numbers]

    assert len(found(10_000)) == 10_000
    assert found(10_001) == [("", True, "10001 classes; each has a row up to 10000")]
    monkeypatch.setattr(metrics, "MOST_CLASS_CELLS", 29)
    assert found(10)[0][1:] == (
        True,
        "3 samples x 10 classes; each class has a row up to 3e+01 of both",
    )
    assert found(9)[8][:2] == ("8", False)
