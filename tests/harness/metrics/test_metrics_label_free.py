"""References: the definitions on repeated rows, and models that keep each assumption."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from crucibench.contracts.statistic import Statistic
from crucibench.metrics import label_free as f
from crucibench.stats import bootstrap_many

ALL = (
    f.average_confidence_statistic,
    f.difference_of_confidences_statistic,
    f.average_thresholded_confidence_statistic,
)
home_rows = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=8)
away_rows = st.lists(st.integers(0, 4), min_size=1, max_size=8)


def _value(statistic: Statistic) -> float:
    value = statistic.value().value
    assert value is not None
    return value


def _thresholded(home: list[tuple[int, bool]], away: list[int]) -> float:
    """The definition, with ties broken at random alike at home and away: the expectation."""
    wrong = sum(not right for _, right in home)
    ordered = sorted(level for level, _ in home)
    if wrong == len(home):
        return 0.0
    threshold = ordered[wrong]
    tied = ordered.count(threshold)
    above = sum(level > threshold for level in ordered)
    part = (len(home) - wrong - above) / tied
    hits = sum(1.0 if level > threshold else part * (level == threshold) for level in away)
    return hits / len(away)


@settings(max_examples=200, deadline=None)
@given(home_rows, away_rows)
def test_they_are_their_definitions(home: list[tuple[int, bool]], away: list[int]) -> None:
    level, right = np.array([row[0] for row in home]) / 4, np.array([row[1] for row in home])
    there = np.array(away) / 4
    found = [_value(statistic(level, right, there)) for statistic in ALL]
    mean = there.mean()
    fall = level.mean() - mean
    expected = [mean, np.clip(right.mean() - fall, 0, 1), _thresholded(home, away)]
    assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(home_rows, away_rows, st.randoms(use_true_random=False))
def test_a_weight_is_so_many_rows(
    home: list[tuple[int, bool]], away: list[int], draw: object
) -> None:
    level, right = np.array([row[0] for row in home]), np.array([row[1] for row in home])
    there = np.array(away)
    here_times = np.array([draw.randint(0, 3) for _ in home])  # type: ignore[attr-defined]
    there_times = np.array([draw.randint(0, 3) for _ in away])  # type: ignore[attr-defined]
    if not here_times.any() or not there_times.any():
        return
    for statistic in ALL:
        weighted = statistic(level, right, there)(np.concatenate([here_times, there_times])[None])
        repeated = statistic(
            np.repeat(level, here_times),
            np.repeat(right, here_times),
            np.repeat(there, there_times),
        )
        assert_allclose(weighted[0], _value(repeated), atol=1e-12)


@given(home_rows)
def test_home_itself_has_its_accuracy(home: list[tuple[int, bool]]) -> None:
    level, right = np.array([row[0] for row in home]), np.array([row[1] for row in home])
    for statistic in ALL[1:]:
        assert_allclose(_value(statistic(level, right, level)), right.mean(), atol=1e-12)


def test_where_its_assumption_holds_each_finds_the_truth() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    home, away = rng.beta(6, 2, n), rng.beta(3, 2, n)
    calibrated = rng.random(n) < home
    truth = 3 / 5
    assert abs(_value(ALL[0](home, calibrated, away)) - truth) < 0.01
    # Too sure by a tenth, at home as away.
    sure = rng.random(n) < home - 0.1
    assert abs(_value(ALL[1](home, sure, away)) - (truth - 0.1)) < 0.01
    # Wrong exactly where it is unsure.
    threshold = home > 0.5
    assert abs(_value(ALL[2](home, threshold, away)) - np.mean(away > 0.5)) < 0.01


def test_both_sides_are_resampled() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for number in range(200):
        home, away = rng.beta(6, 2, 150), rng.beta(3, 2, 100)
        right = rng.random(150) < home
        strata = np.repeat([0, 1], [150, 100])
        one = f.difference_of_confidences_statistic(home, right, away)
        result = bootstrap_many(
            {"": one}, 250, replicates=300, seed=number, stream="test", strata=strata
        )[""]
        assert result.interval is not None
        covered.append(result.interval.lower <= 0.6 <= result.interval.upper)
    assert abs(np.mean(covered) - 0.95) <= 3 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize("statistic", ALL)
def test_without_samples_it_is_undefined(statistic: type[Statistic]) -> None:
    for home, right, away in (([], [], [0.5]), ([0.5], [True], [])):
        assert statistic(home, right, away).value().reason == "no samples"  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="home and correct: expected equally many rows"):
        statistic([0.5], [True, False], [0.5])  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="away: expected finite numbers"):
        statistic([0.5], [True], [np.nan])  # type: ignore[call-arg]
