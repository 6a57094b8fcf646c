"""References: a loop over all orders of tied samples; the closed form of the best AURC."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise, permutations
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from crucibench.metrics import selective as s
from crucibench.stats import clopper_pearson

rows = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6)


def _columns(sample: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row[0] for row in sample]), np.array([row[1] for row in sample])


def _expected_curve(sample: list[tuple[int, bool]]) -> list[Fraction]:
    """The mean risk at every k over all orders that are sorted by confidence."""
    n = len(sample)
    total, orders = [Fraction(0)] * n, 0
    for order in permutations(sample):
        if any(a[0] < b[0] for a, b in pairwise(order)):
            continue
        orders += 1
        errors = 0
        for k, (_, right) in enumerate(order, start=1):
            errors += not right
            total[k - 1] += Fraction(errors, k)
    return [risk / orders for risk in total]


@settings(max_examples=60, deadline=None)
@given(rows)
def test_ties_count_by_expectation_over_their_orders(sample: list[tuple[int, bool]]) -> None:
    confidence, correct = _columns(sample)
    expected = [float(risk) for risk in _expected_curve(sample)]
    curve = s.risk_coverage_curve(confidence, correct)
    np.testing.assert_allclose(curve.risk, expected, atol=1e-12)
    np.testing.assert_allclose(curve.coverage, np.arange(1, len(sample) + 1) / len(sample))
    aurc = s.aurc_statistic(confidence, correct).value().value
    assert aurc == pytest.approx(np.mean(expected), abs=1e-12)
    for percent in (1, 34, 50, 80, 100):
        k = -(-percent * len(sample) // 100)
        accuracy = s.accuracy_at_coverage_statistic(confidence, correct, percent=percent)
        assert accuracy.value().value == pytest.approx(1 - expected[k - 1], abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40), st.randoms())
def test_the_order_of_rows_does_not_matter(sample: list[tuple[int, bool]], random: Random) -> None:
    shuffled = list(sample)
    random.shuffle(shuffled)
    for build in (s.aurc_statistic, s.e_aurc_statistic):
        first, second = (build(*_columns(one)).value().value for one in (sample, shuffled))
        assert first == pytest.approx(second, abs=1e-12)


@pytest.mark.parametrize("errors", [0.05, 0.2, 0.7])
def test_the_best_order_has_no_excess_and_tends_to_the_closed_form(errors: float) -> None:
    """AURC* -> e + (1 - e) ln(1 - e); for e = 0.2 it is 0.021485."""
    n = 100_000
    correct = np.arange(n) >= errors * n
    confidence = np.arange(n)
    aurc = s.aurc_statistic(confidence, correct).value().value
    assert aurc == pytest.approx(errors + (1 - errors) * np.log(1 - errors), abs=1e-5)
    assert s.e_aurc_statistic(confidence, correct).value().value == pytest.approx(0, abs=1e-12)
    if errors == 0.2:
        assert round(aurc, 5) == round(0.021485, 5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30))
def test_the_excess_is_never_negative(sample: list[tuple[int, bool]]) -> None:
    value = s.e_aurc_statistic(*_columns(sample)).value().value
    assert value is not None
    assert value >= -1e-12


def test_a_confidence_that_says_nothing_has_the_error_rate_everywhere() -> None:
    correct = np.arange(50) % 5 > 0
    curve = s.risk_coverage_curve(np.ones(50), correct)
    np.testing.assert_allclose(curve.risk, 0.2)
    assert s.aurc_statistic(np.ones(50), correct).value().value == pytest.approx(0.2, abs=1e-12)


def test_all_right_or_all_wrong() -> None:
    confidence = np.arange(10)
    for correct, value in ((np.ones(10, bool), 0.0), (np.zeros(10, bool), 1.0)):
        assert s.aurc_statistic(confidence, correct).value().value == pytest.approx(value)
        assert s.e_aurc_statistic(confidence, correct).value().value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("percent", [80, 90, 95])
@pytest.mark.parametrize("n", [1, 7, 19, 20, 60, 1000])
def test_coverage_is_at_least_what_was_asked(n: int, percent: int) -> None:
    correct = np.random.default_rng(n).random(n) < 0.7
    k = -(-percent * n // 100)
    value = s.accuracy_at_coverage_statistic(-np.arange(n), correct, percent=percent).value().value
    assert value == pytest.approx(correct[:k].mean(), abs=1e-12)


def test_the_interval_adds_to_a_share_s_how_the_cut_moves() -> None:
    # 40 answers, all of the first 14 right, then every other one: 17 of 20, and 13 of the 20
    # about the cut.
    correct = (np.arange(40) < 14) | (np.arange(40) % 2 == 0)
    found = s.accuracy_at_coverage_interval(-np.arange(40), correct, 0.9, percent=50)
    share = clopper_pearson(17, 20, 0.9)
    moves = norm.ppf(0.95) ** 2 * (12 / 20 - 17 / 20) ** 2 * (20 / (20 * 40))
    below, above = 17 / 20 - share.lower, share.upper - 17 / 20
    expected = 17 / 20 - np.sqrt(below**2 + moves), min(1, 17 / 20 + np.sqrt(above**2 + moves))
    np.testing.assert_allclose(found[:2], expected, rtol=1e-12)
    assert found[2:] == (0.9, "clopper-pearson; the cut moves")
    # Of 1,000 the 50 on each side count.
    many = np.arange(1000) < 550
    whole = s.accuracy_at_coverage_interval(-np.arange(1000), many, 0.95, percent=50)
    assert whole[:2] == (clopper_pearson(500, 500).lower, 1.0)


def test_coverage_is_counted_in_whole_percents() -> None:
    """0.07 * 100 is 7.000000000000001 in floats, whose ceiling is 8."""
    correct = np.arange(100) < 7
    value = s.accuracy_at_coverage_statistic(-np.arange(100), correct, percent=7).value().value
    assert value == 1.0


def test_without_samples() -> None:
    assert s.aurc_statistic([], []).value().reason == "no samples"
    assert s.risk_coverage_curve([], []).risk.shape == (0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: s.accuracy_at_coverage_statistic([1.0], [1], percent=0),
            "percent: expected 1..100, got 0",
        ),
        (lambda: s.aurc_statistic([np.nan], [1]), "confidence: expected numbers, got nan"),
        (
            lambda: s.aurc_statistic([1.0], [1, 0]),
            "confidence and correct: expected equally many rows",
        ),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_the_influence_of_accuracy_at_a_coverage_has_the_spread_of_its_resamples() -> None:
    rng = np.random.default_rng(3)
    n = 4000
    level = np.round(rng.random(n), 3)  # with ties
    right = rng.random(n) < 0.5 + 0.5 * level
    statistic = s.accuracy_at_coverage_statistic(level, right, percent=80)
    assert statistic.influence is not None
    influence = statistic.influence()
    assert influence.sum() == pytest.approx(0, abs=1e-12)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=1000)
    spread = statistic(weights).std()
    assert np.sqrt(influence @ influence) == pytest.approx(spread, rel=0.1)
    # Tied samples count alike, in any order.
    order = rng.permutation(n)
    again = s.accuracy_at_coverage_statistic(level[order], right[order], percent=80)
    assert again.influence is not None
    assert np.allclose(again.influence(), influence[order], rtol=1e-9)
