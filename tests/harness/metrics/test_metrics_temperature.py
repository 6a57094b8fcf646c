"""References: scipy.optimize on the log loss; the temperature a sample was drawn with."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize_scalar

from crucibench.metrics import temperature as t
from crucibench.metrics.probabilistic import log_loss_statistic, softmax


def _drawn_at(true: float, n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at the temperature `true` the targets are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 3
    cumulative = softmax(logits / true).cumsum(axis=1)
    targets = (rng.random(n)[:, None] > cumulative[:, :-1]).sum(axis=1)
    return logits, targets


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_finds_the_lowest_log_loss(true: float, classes: int) -> None:
    logits, targets = _drawn_at(true, 400, classes)

    def loss(log_t: float) -> float:
        value = log_loss_statistic(softmax(logits / np.exp(log_t)), targets).value().value
        assert value is not None
        return value

    fit = t.fit_temperature(logits, targets)
    assert fit.temperature.value is not None
    assert not fit.at_bound
    found = np.log(fit.temperature.value)
    reference = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    assert found == pytest.approx(reference.x, abs=1e-6)
    # The slope at the minimum, by a central difference of the loss itself.
    assert (loss(found + 1e-4) - loss(found - 1e-4)) / 2e-4 == pytest.approx(0, abs=1e-8)


def test_recovers_the_temperature_it_was_drawn_at_within_its_standard_error() -> None:
    deviations = []
    for seed in range(60):
        fit = t.fit_temperature(*_drawn_at(2.5, 500, 4, seed))
        assert fit.temperature.value is not None
        assert fit.log_standard_error is not None
        deviations.append((np.log(fit.temperature.value / 2.5)) / fit.log_standard_error)
    # Standardised errors: mean 0 and spread 1, within 3.5 Monte-Carlo standard errors.
    assert abs(np.mean(deviations)) < 3.5 / np.sqrt(60)
    assert abs(np.std(deviations) - 1) < 3.5 / np.sqrt(2 * 60)


def test_the_scale_of_logits_is_the_temperature() -> None:
    logits, targets = _drawn_at(1.0, 300, 3)
    first, second = (t.fit_temperature(logits * c, targets) for c in (1, 7))
    assert second.temperature.value == pytest.approx(7 * first.temperature.value, rel=1e-10)
    assert second.log_standard_error == pytest.approx(first.log_standard_error, rel=1e-8)


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, (5, 4), elements=st.floats(-50, 50, width=32)),
    st.floats(0.01, 100),
)
@example(np.tile(np.float32([0, 1e-17, 0, 0]), (5, 1)), 0.01)  # a tie at 1 that a low one tells
@example(np.tile(np.float32([0, 1e-17, 0, 0]), (5, 1)), 100.0)
@example(np.tile(np.float32([-50, 50, 49.999996, 0]), (5, 1)), 100.0)
def test_temperature_never_changes_the_largest(logits: np.ndarray, temperature: float) -> None:
    """The largest logit's class keeps the largest probability; rounding may make others equal.

    Dividing, subtracting and rounding keep an order or end it in a tie, and turn none round. Which
    of the tied classes stands first is no property of the temperature.
    """
    row, largest = np.arange(5), logits.argmax(axis=1)
    distinct = np.sort(logits, axis=1)
    clear = distinct[:, -1] - distinct[:, -2] > 1e-4
    for scaled in (softmax(logits), t.apply_temperature(logits, temperature)):
        assert (scaled[row, largest] == scaled.max(axis=1)).all()
        assert (scaled.argmax(axis=1) == largest)[clear].all()


def test_perfect_separation_ends_at_the_bound_and_says_so() -> None:
    fit = t.fit_temperature(np.eye(4) * 2, np.arange(4))
    assert fit.at_bound
    assert fit.temperature.value == pytest.approx(t.LOWEST)
    assert fit.temperature.note == "at the end of the searched range"
    assert fit.log_standard_error is None


def test_a_model_worse_than_chance_ends_at_the_other_bound() -> None:
    fit = t.fit_temperature(np.eye(3), [1, 2, 0])
    assert fit.at_bound
    assert fit.temperature.value == pytest.approx(t.HIGHEST)


def test_constant_logits_have_no_temperature() -> None:
    fit = t.fit_temperature(np.full((3, 2), 5.0), [0, 1, 0])
    assert fit.temperature.value is None
    assert fit.temperature.reason.startswith("every sample's logits are equal")
    assert t.temperature_statistic(np.full((3, 2), 5.0), [0, 1, 0]).value().value is None
    empty = t.fit_temperature(np.zeros((0, 2)), [])
    assert empty.temperature.reason == "no samples"


def test_the_statistic_is_the_fit() -> None:
    logits, targets = _drawn_at(2.0, 200, 3)
    value = t.temperature_statistic(logits, targets).value().value
    expected = t.fit_temperature(logits, targets).temperature.value
    assert value == pytest.approx(expected, rel=1e-10)


def test_recalibration_fits_on_one_half_and_judges_the_other() -> None:
    logits, targets = _drawn_at(3.0, 2000, 5)
    fit, evaluate = np.arange(0, 2000, 2), np.arange(1, 2000, 2)
    result = t.recalibrate(logits, targets, fit=fit, evaluate=evaluate)
    assert result.fit == t.fit_temperature(logits[fit], targets[fit])
    assert (result.targets == targets[evaluate]).all()
    assert result.after is not None
    np.testing.assert_allclose(result.before, softmax(logits[evaluate]))
    before, after = (
        log_loss_statistic(p, result.targets).value().value for p in (result.before, result.after)
    )
    assert after < before
    unidentified = t.recalibrate(np.zeros((4, 2)), [0, 1, 0, 1], fit=[0, 1], evaluate=[2, 3])
    assert unidentified.after is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: t.apply_temperature([[0.0, 1.0]], 0), "temperature: expected a number > 0, got 0"),
        (lambda: t.fit_temperature([[0.0, -np.inf]], [0]), "logits: expected finite numbers"),
        (lambda: t.fit_temperature([[0.0, 1.0]], [2]), r"targets: expected class indices in 0..1"),
        (
            lambda: t.recalibrate(np.eye(3), [0, 1, 2], fit=[0, 1], evaluate=[1, 2]),
            r"evaluate: expected rows that aren't in fit, got \[1\]",
        ),
        (
            lambda: t.recalibrate(np.eye(3), [0, 1, 2], fit=[0], evaluate=[3]),
            r"evaluate: expected row indices in 0..2, got 3..3",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
