"""References: scikit-learn, scipy, mpmath; closed forms."""

from collections.abc import Callable

import mpmath
import numpy as np
import pytest
from scipy import special
from sklearn import metrics as sk

from crucibench.metrics import probabilistic as p


def _sample(classes: int, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    targets = rng.integers(0, classes, n)
    targets[:classes] = np.arange(classes)
    return rng.normal(size=(n, classes)) * 3, targets


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_agrees_with_scikit_learn_and_scipy(classes: int) -> None:
    logits, targets = _sample(classes)
    probabilities = p.softmax(logits)
    np.testing.assert_allclose(probabilities, special.softmax(logits, axis=1), rtol=1e-13)
    log_loss = p.log_loss_statistic(probabilities, targets).value().value
    assert log_loss == pytest.approx(sk.log_loss(targets, probabilities), abs=1e-12)
    brier = p.brier_sum_statistic(probabilities, targets).value().value
    expected = sk.brier_score_loss(targets, probabilities, scale_by_half=False)
    assert brier == pytest.approx(expected, abs=1e-12)
    weights = np.random.default_rng(0).poisson(1, (3, len(targets)))
    for b, row in enumerate(weights):
        expected = sk.log_loss(targets, probabilities, sample_weight=row)
        weighted = p.log_loss_statistic(probabilities, targets)(weights)[b]
        assert weighted == pytest.approx(expected, abs=1e-12)


def test_the_binary_brier_score_is_half_the_sum() -> None:
    logits, targets = _sample(2)
    probabilities = p.softmax(logits)
    half = p.brier_statistic(probabilities[:, 1], targets).value().value
    assert half == pytest.approx(sk.brier_score_loss(targets, probabilities[:, 1]), abs=1e-12)
    total = p.brier_sum_statistic(probabilities, targets).value().value
    assert total == pytest.approx(2 * half, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 5, 1000])
def test_uniform_probabilities(classes: int) -> None:
    uniform = np.full((7, classes), 1 / classes)
    targets = np.arange(7) % classes
    log_loss = p.log_loss_statistic(uniform, targets).value().value
    assert log_loss == pytest.approx(np.log(classes), abs=1e-12)
    brier = p.brier_sum_statistic(uniform, targets).value().value
    assert brier == pytest.approx(1 - 1 / classes, abs=1e-12)


def test_a_calibrated_brier_score_is_the_mean_of_p_times_1_minus_p() -> None:
    rng, n = np.random.default_rng(0), 200_000
    positive = rng.random(n)
    brier = p.brier_statistic(positive, rng.random(n) < positive).value().value
    # The spread of (p - y)^2 is at most 1/2, so that 3.5 standard errors are at most 0.004.
    assert brier == pytest.approx((positive * (1 - positive)).mean(), abs=0.004)


def test_log_loss_is_clipped_not_infinite() -> None:
    losses = p.log_losses([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    assert losses.tolist() == [0.0, -np.log(np.finfo(float).eps)]
    assert not np.signbit(losses[0])


def test_the_extremes_of_logits() -> None:
    logits = np.array([[1e4, 0.0, -np.inf], [-1e4, -1e4, -1e4]])
    assert p.softmax(logits)[0].tolist() == [1.0, 0.0, 0.0]
    np.testing.assert_allclose(p.softmax(logits)[1], 1 / 3)
    single = p.softmax(np.array([[0.1, 0.2]], dtype=np.float32))
    assert single.dtype == np.float64


@pytest.mark.parametrize("scale", [0.1, 5.0, 60.0])
def test_log_odds_agree_with_arbitrary_precision(scale: float) -> None:
    logits = np.random.default_rng(1).normal(size=(10, 4)) * scale
    logits[0] = 2.0
    logits[1] = [3.0, 3.0, 0.0, -1.0]
    with mpmath.workdps(200):
        for row, ours in zip(logits, p.log_odds(logits), strict=True):
            powers = [mpmath.exp(mpmath.mpf(float(x))) for x in row]
            for k, power in enumerate(powers):
                exact = float(mpmath.log(power / (mpmath.fsum(powers) - power)))
                assert ours[k] == pytest.approx(exact, rel=1e-12, abs=1e-14)


def test_log_odds_of_two_classes_are_differences() -> None:
    logits = np.array([[0.1, 0.7], [1e3, -1e3]])
    assert p.log_odds(logits)[:, 1].tolist() == (logits[:, 1] - logits[:, 0]).tolist()


def test_from_probabilities_alone() -> None:
    probabilities = np.array([[0.2, 0.8], [0.0, 1.0]])
    np.testing.assert_allclose(
        p.softmax(p.log_probabilities(probabilities)), probabilities, 0, 1e-15
    )


def test_float_noise_is_forgiven() -> None:
    noisy = np.array([[1.0000001, -1e-8], [0.3332, 0.6662]])
    assert p.log_losses(noisy, [0, 1])[0] == 0.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: p.log_losses([[0.5, 0.6]], [0]), "rows that sum to 1, got 1.1 in row 0"),
        (lambda: p.log_losses([[-0.1, 1.1]], [0]), r"probabilities in \[0, 1\], got -0.1..1.1"),
        (lambda: p.log_losses([[np.nan, 1]], [0]), r"finite numbers, got nan at \[0, 0\]"),
        (lambda: p.log_losses([[1.0]], [0]), r"shape \(n, K\) with K >= 2, got \(1, 1\)"),
        (lambda: p.log_losses([[0.5, 0.5]], [0, 1]), "expected equally many rows"),
        (lambda: p.log_losses([[0.5, 0.5]], [2]), r"class indices in 0..1, got 2..2"),
        (lambda: p.brier_statistic([2.0], [1]), r"positive: .*\[0, 1\], got 2.0..2.0"),
        (lambda: p.softmax([[np.inf, 0.0]]), r"no \+inf and in each row a finite number"),
        (lambda: p.softmax([[-np.inf, -np.inf]]), r"no \+inf and in each row a finite number"),
        (lambda: p.softmax([[np.nan, 0.0]]), r"logits: expected numbers, got nan"),
        (lambda: p.log_odds([[-np.inf, 0.0]]), r"logits: expected finite numbers"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("classes", [2, 3, 7, 8, 12])
def test_the_layout_of_a_matrix_moves_no_bit(classes: int) -> None:
    rng = np.random.default_rng(classes)
    matrix = rng.normal(size=(500, classes)) * 10.0 ** rng.integers(-8, 8, (500, classes))
    turned = p.by_column(matrix)
    assert turned.flags.f_contiguous == (classes < 8)
    assert (turned.sum(axis=1) == matrix.sum(axis=1)).all()
    assert (p.softmax(turned) == p.softmax(matrix)).all()
