from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from crucibench.stats.sequences import (
    FEWEST,
    Bets,
    Sided,
    _mixture,
    asymptotic_evidence,
    asymptotic_interval,
)


@pytest.mark.parametrize(("lower", "upper", "null"), [(-1, 1, -0.1), (-1, 2, 0.25)])
def test_a_bet_at_the_null_neither_gains_nor_loses(lower: int, upper: int, null: float) -> None:
    # All sequences of seven values, each by its chance: an e-value's expectation, exactly.
    values = (lower, 0, upper)
    up = (null - lower * 0.3) / upper
    chances = dict(zip(values, (0.3, 0.7 - up, up), strict=True))
    expected = [0.0, 0.0]
    for row in itertools.product(values, repeat=7):
        found = Bets(row, lower, upper, block=2, most=20).evidence(null)
        weight = math.prod(chances[value] for value in row)
        expected = [a + weight * math.exp(b) for a, b in zip(expected, found, strict=True)]
    assert expected == pytest.approx([1.0, 1.0])


def test_capitals_are_those_of_players_who_bet_value_by_value() -> None:
    rng = np.random.default_rng(0)
    values, block, most, null = rng.choice([-1.0, 0.0, 1.0], 57, p=[0.2, 0.6, 0.2]), 10, 200, -0.1
    players = []
    for doubling in range(6):
        capital = 1.0
        for place, value in enumerate(values):
            before = values[: place // block * block]
            variance = (before.size * before.var() + 1.0 if before.size else 1.0) / (
                before.size + 1.0
            )
            distance = 2**doubling * math.sqrt(10 * variance / most)
            stake = min(distance / (variance + distance**2), 0.9 / (null + 1))
            capital *= 1 + stake * (value - null)
        players.append(capital)
    weights = np.array([32, 16, 8, 4, 2, 1]) / 63
    found = Bets(values, -1, 1, block=block, most=most)
    assert found.evidence(null).above == pytest.approx(math.log(weights @ players))
    assert [side[-1] for side in found.path(null)] == list(found.evidence(null))


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.25])
def test_the_interval_holds_what_the_bets_leave_open(mean: float) -> None:
    rng = np.random.default_rng(1)
    odds = [(0.4 - mean) / 2, 0.6, (0.4 + mean) / 2]
    bets = Bets(rng.choice([-1.0, 0.0, 1.0], 400, p=odds), -1, 1, block=20, most=800)
    lower, upper = bets.interval()[:2]
    assert lower < mean < upper
    assert bets.evidence(lower).p[0] == pytest.approx(0.05, rel=1e-4)
    assert bets.evidence(upper).p[1] == pytest.approx(0.05, rel=1e-4)
    with pytest.raises(ValueError, match="in \\[-1, 1\\]"):
        Bets([2.0], -1, 1, block=1, most=1)


def test_the_asymptotic_form_is_robbins_mixture_and_its_interval_inverts_it() -> None:
    estimate, error, n, most, null = 0.04, 0.012, 900, 2000, 0.01
    rate = _mixture(most, 0.95)

    def likelihood_ratio(mean: float) -> float:
        # Of a mean of `mean` SDs against one of 0, times what the mixture gives that mean.
        z = (estimate - null) / error * math.sqrt(n)
        return math.exp(mean * z - n * mean**2 / 2) * stats.norm.pdf(mean, scale=math.sqrt(rate))

    mixed = integrate.quad(likelihood_ratio, -1, 1, points=[0.08], limit=200)[0]
    found = asymptotic_evidence(estimate, error, n, null, most=most)
    assert found.above == pytest.approx(math.log(2 * mixed)) and found.below == -math.inf
    ends = asymptotic_interval(estimate, error, n, most=most)
    assert ends is not None
    for null_, side in ((ends.lower, 0), (ends.upper, 1)):
        assert asymptotic_evidence(estimate, error, n, null_, most=most).p[side] == pytest.approx(
            0.05
        )
    assert asymptotic_evidence(1.0, 0.1, FEWEST - 1, 0.0, most=most) == Sided(0.0, 0.0)


@pytest.mark.parametrize("flipped", [0.05, 0.3])
def test_looks_at_a_loss_of_exactly_the_margin_seldom_decide(flipped: float) -> None:
    alarms = 0
    for k in range(400):
        rng = np.random.default_rng([k, 7])
        odds = [(flipped + 0.02) / 2, 1 - flipped, (flipped - 0.02) / 2]
        sides = Bets(rng.choice([-1.0, 0.0, 1.0], 2000, p=odds), -1, 1, block=10, most=2000)
        alarms += any((side >= math.log(40)).any() for side in sides.path(-0.02))
    assert alarms <= stats.binom.ppf(0.999, 400, 0.05)
