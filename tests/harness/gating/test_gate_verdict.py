from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from crucibench.comparing.power import n_needed
from crucibench.comparing.results import MetricDifference
from crucibench.gating.decide import (
    decide_floor,
    decide_margin,
    decide_no_worse,
    detectable,
    n_needed_for_floor,
    p_value,
    without_spread,
)
from crucibench.gating.result import Outcome

Make = Callable[..., MetricDifference]
PASS, REGRESSION, INCONCLUSIVE = Outcome.PASS, Outcome.REGRESSION, Outcome.INCONCLUSIVE
given_fixture = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("gain", "half", "p", "outcome"),
    [
        (0.0, 0.01, 0.9, PASS),
        (0.0, 0.02, 0.9, PASS),  # L is the margin itself
        (0.0, 0.0201, 0.9, INCONCLUSIVE),
        (-0.02, 0.0, 0.0, PASS),  # L and Delta are the margin itself: pass is asked first
        (-0.04, 0.01, 0.001, REGRESSION),
        (-0.03, 0.01, 0.001, INCONCLUSIVE),  # U is the margin itself
        (-0.02, 0.0125, 0.001, INCONCLUSIVE),  # a loss for sure, but perhaps less than the margin
        (-0.04, 0.01, 0.05, INCONCLUSIVE),  # adjusted, it is not below 5 %
        (-0.04, 0.01, math.nan, INCONCLUSIVE),
        (0.05, 0.2, 0.9, INCONCLUSIVE),  # better, but for all one knows worse by 15 points
        (0.05, 0.01, 1e-9, PASS),
    ],
)
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_the_margin_rule(
    difference: Make, gain: float, half: float, p: float, outcome: Outcome, direction: str
) -> None:
    found = difference(gain=gain, half=half, direction=direction, baseline=0.0)
    assert decide_margin(found, 0.02, p) is outcome


@pytest.mark.parametrize(
    ("gain", "half", "p", "detect", "outcome"),
    [
        (0.0, 0.01, 0.9, 0.015, PASS),
        (0.0, 0.01, 0.9, 0.0142, INCONCLUSIVE),  # 0.0143 is what this n shows
        (-0.03, 0.01, 0.001, 0.015, REGRESSION),
        (-0.001, 0.0005, 0.001, 0.015, REGRESSION),  # however small
        (-0.03, 0.01, 0.06, 0.015, PASS),  # U, adjusted, is not below 0
        (0.03, 0.01, 0.001, 0.015, PASS),
        (0.0, None, 1.0, 0.015, INCONCLUSIVE),
    ],
)
def test_the_no_worse_rule(
    difference: Make, gain: float, half: float | None, p: float, detect: float, outcome: Outcome
) -> None:
    assert decide_no_worse(difference(gain=gain, half=half), detect, p) is outcome


@pytest.mark.parametrize(
    ("lower", "upper", "direction", "floor", "outcome"),
    [
        (0.80, 0.90, "higher", 0.80, PASS),
        (0.80, 0.90, "higher", 0.81, INCONCLUSIVE),
        (0.80, 0.90, "higher", 0.90, INCONCLUSIVE),
        (0.80, 0.90, "higher", 0.91, REGRESSION),
        (0.02, 0.05, "lower", 0.05, PASS),
        (0.02, 0.05, "lower", 0.02, INCONCLUSIVE),
        (0.02, 0.05, "lower", 0.01, REGRESSION),
        (None, None, "higher", 0.5, INCONCLUSIVE),
    ],
)
def test_the_floor_rule(
    lower: float | None, upper: float | None, direction: str, floor: float, outcome: Outcome
) -> None:
    assert decide_floor(lower, upper, direction, floor) is outcome


def test_no_interval_is_never_a_pass(difference: Make) -> None:
    assert decide_margin(difference(half=None, p=1.0), 0.5, 1.0) is INCONCLUSIVE
    assert decide_margin(difference(half=None, gain=-0.4, p=0.0), 0.01, 0.0) is INCONCLUSIVE


def test_answers_alike_are_as_sure_as_n_allows(difference: Make) -> None:
    alike = difference(half=None, p=1.0, n=381, identical=True)
    assert decide_margin(without_spread(alike, share=True), 0.01, 1.0) is PASS
    fewer = difference(half=None, p=1.0, n=380, identical=True)
    assert decide_margin(without_spread(fewer, share=True), 0.01, 1.0) is INCONCLUSIVE
    assert without_spread(alike, share=False) is alike
    spread = difference(n=381)
    assert without_spread(spread, share=True) is spread


def test_what_n_shows_and_what_a_margin_needs(difference: Make) -> None:
    found = difference(half=0.01, n=1000)
    assert detectable(found) == pytest.approx(0.01 / 1.96 * (1.96 + 0.8416), rel=1e-3)
    assert n_needed(found, 0.01) == pytest.approx(1000 * (2.8016 / 1.96) ** 2, rel=2e-3)
    # Half the size needs four times the samples.
    assert n_needed(found, 0.005) == pytest.approx(4 * n_needed(found, 0.01), rel=1e-3)
    shares = difference(flips=(30, 20), n=1000)
    assert n_needed(shares, 0.01) == pytest.approx(0.05 * 2.8016**2 / 1e-4, rel=0.01)
    # Without a flip the discordance is its upper bound, not 0.
    assert n_needed(difference(flips=(0, 0), n=200), 0.01) > 700
    assert n_needed(difference(half=None), 0.01) is None
    assert n_needed_for_floor(0.9, 0.88, 0.92, 400, 0.91) == pytest.approx(1600, abs=1)
    assert n_needed_for_floor(0.9, 0.88, 0.92, 400, 0.9) is None


def test_a_p_value_is_made_of_the_standard_error_where_there_is_none(difference: Make) -> None:
    assert p_value(difference(gain=0.01, half=0.01, p=None)) == pytest.approx(0.05, abs=1e-9)
    assert math.isnan(p_value(difference(half=None, p=None)))
    assert p_value(difference(p=0.3)) == 0.3


@given_fixture
@given(st.floats(-0.2, 0.2), st.floats(1e-4, 0.2), st.floats(1e-4, 0.1), st.floats(0, 1))
def test_swapping_turns_a_regression_into_a_pass(
    difference: Make, gain: float, half: float, margin: float, p: float
) -> None:
    there = decide_margin(difference(gain=gain, half=half), margin, p)
    back = decide_margin(difference(gain=-gain, half=half), margin, p)
    if there is REGRESSION:
        assert back is PASS
    if there is back is PASS:
        assert abs(gain) <= margin


@given_fixture
@given(st.floats(-0.2, 0.2), st.floats(1e-4, 0.2), st.floats(1e-4, 0.1), st.floats(0, 1))
def test_better_numbers_and_wider_margins_never_hurt(
    difference: Make, gain: float, half: float, margin: float, p: float
) -> None:
    order = [REGRESSION, INCONCLUSIVE, PASS]
    assume(p < 0.05 or gain > -half)
    here = order.index(decide_margin(difference(gain=gain, half=half), margin, p))
    assert order.index(decide_margin(difference(gain=gain + 0.05, half=half), margin, 1.0)) >= min(
        here, 1
    )
    assert order.index(decide_margin(difference(gain=gain, half=half), margin * 1.5, p)) >= here


@given_fixture
@given(st.floats(0.1, 3.0), st.floats(1e-3, 0.1), st.integers(10, 10**6), st.integers(2, 100))
def test_at_no_difference_more_samples_only_help(
    difference: Make, spread: float, margin: float, n: int, more: int
) -> None:
    few = difference(half=1.96 * spread / math.sqrt(n), n=n, p=1.0)
    many = difference(half=1.96 * spread / math.sqrt(n * more), n=n * more, p=1.0)
    for decide in (decide_margin, decide_no_worse):
        assert decide(few, margin, 1.0) is not REGRESSION
        if decide(few, margin, 1.0) is PASS:
            assert decide(many, margin, 1.0) is PASS
    enough = n_needed(few, margin)
    assert enough is not None
    whole = difference(half=1.96 * spread / math.sqrt(enough), n=enough, p=1.0)
    assert decide_margin(whole, margin, 1.0) is PASS


def test_more_power_needs_more_samples(difference: Make) -> None:
    found = difference(gain=-0.01, half=0.02, n=400)
    less, more = (n_needed(found, 0.02, power) for power in (0.8, 0.9))
    # By the normal law: ((1.96 + 1.282) / (1.96 + 0.842)) ** 2 times as many.
    assert less is not None and more is not None and more / less == pytest.approx(1.339, rel=0.01)
    assert detectable(found, 0.9) == pytest.approx((1.96 + 1.2816) * 0.02 / 1.96, rel=1e-3)
