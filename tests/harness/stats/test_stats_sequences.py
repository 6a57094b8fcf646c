from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from crucibench.stats.sequences import (
    FEWEST,
    Bets,
    Mixture,
    Sided,
)


@pytest.mark.parametrize(("lower", "upper", "null"), [(-1, 1, -0.1), (-1, 2, 0.25)])
def test_a_bet_at_the_null_neither_gains_nor_loses(lower: int, upper: int, null: float) -> None:
    # All sequences of seven values, each by its chance: expectations and chances, exactly.
    values = (lower, 0, upper)
    up = (null - lower * 0.3) / upper
    chances = dict(zip(values, (0.3, 0.7 - up, up), strict=True))
    expected, tails = np.zeros(2), np.zeros((2, 3))
    for row in itertools.product(values, repeat=7):
        weight = math.prod(chances[value] for value in row)
        once = Bets(row, lower, upper, block=7, most=20).evidence(null)
        expected += weight * np.exp(once)
        ever = Bets(row, lower, upper, block=2, most=20).evidence(null)
        tails += weight * (np.exp(ever)[:, None] >= [1.2, 2.0, 4.0])
    assert expected == pytest.approx([1.0, 1.0])
    assert (tails <= 1 / np.array([1.2, 2.0, 4.0])).all() and tails[:, 0].min() > 0.1


def test_capitals_are_those_of_players_who_bet_value_by_value() -> None:
    rng = np.random.default_rng(0)
    values, block, most, null = rng.choice([-1.0, 0.0, 1.0], 57, p=[0.2, 0.6, 0.2]), 10, 200, -0.1
    capitals, weights, most_seen = np.ones(6), np.array([32, 16, 8, 4, 2, 1]) / 63, 0.0
    for place, value in enumerate(values):
        before = values[: place // block * block]
        spread = before.size * before.var() if before.size else 0.0
        variance = (spread + 1.0) / (before.size + 1.0)
        for player in range(6):
            distance = 2**player * math.sqrt(10 * variance / most)
            stake = min(distance / (variance + distance**2), 0.9 / (null + 1))
            capitals[player] *= 1 + stake * (value - null)
        if place + 1 in {*range(block, 57, block), 57}:
            most_seen = max(most_seen, weights @ capitals)
    found = Bets(values, -1, 1, block=block, most=most).evidence(null)
    assert found.above == pytest.approx(math.log(most_seen))


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
    found = Mixture(estimate, error, n, most=most)
    rate = (-2 * math.log(0.05) + math.log(1 - 2 * math.log(0.05))) / (most / 2)

    def likelihood_ratio(mean: float) -> float:
        # Of a mean of `mean` SDs against one of 0, times what the mixture gives that mean.
        z = (estimate - null) / error * math.sqrt(n)
        return math.exp(mean * z - n * mean**2 / 2) * stats.norm.pdf(mean, scale=math.sqrt(rate))

    mixed = integrate.quad(likelihood_ratio, -1, 1, points=[0.08], limit=200)[0]
    assert found.evidence(null) == (pytest.approx(math.log(2 * mixed)), -math.inf)
    lower, upper = found.interval()[:2]
    assert found.evidence(lower).p[0] == pytest.approx(0.05)
    assert found.evidence(upper).p[1] == pytest.approx(0.05)
    few = Mixture(1.0, 0.1, FEWEST - 1, most=most)
    assert few.evidence(0.0) == Sided(0.0, 0.0) and few.interval() is None


@pytest.mark.parametrize("flipped", [0.05, 0.3])
def test_looks_at_a_loss_of_exactly_the_margin_seldom_decide(flipped: float) -> None:
    alarms = 0
    for k in range(400):
        rng = np.random.default_rng([k, 7])
        odds = [(flipped + 0.02) / 2, 1 - flipped, (flipped - 0.02) / 2]
        bets = Bets(rng.choice([-1.0, 0.0, 1.0], 2000, p=odds), -1, 1, block=10, most=2000)
        alarms += min(bets.evidence(-0.02).p) <= 0.05
    assert alarms <= stats.binom.ppf(0.999, 400, 0.05)
