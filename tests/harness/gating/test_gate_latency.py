from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from crucibench.gating.latency import (
    Rounds,
    judge_latency,
    ratio_of,
    resolution_of,
    schedule,
)
from crucibench.gating.result import Outcome


def rounds(
    ratio: float = 1.0, *, n: int = 20, jitter: float = 0.01, seed: int = 0, stalls: int = 0
) -> Rounds:
    """Times with a drift that both share, jitter of their own, and stalls of one of them."""
    rng = np.random.default_rng(seed)
    drift = np.exp(np.cumsum(0.02 * rng.standard_normal(n)))
    first = drift * np.exp(jitter * rng.standard_normal(n))
    second = ratio * drift * np.exp(jitter * rng.standard_normal(n))
    second[:stalls] *= 2.0
    return Rounds.of(first, second)


def never() -> Rounds:
    raise AssertionError("a second measurement was not called for")


def test_drift_that_both_share_cancels() -> None:
    rng = np.random.default_rng(1)
    drift = np.exp(rng.normal(0, 0.5, 12))
    found = ratio_of(Rounds.of(drift, 1.07 * drift))
    assert found.value == pytest.approx(1.07)
    assert found.lower == pytest.approx(1.07) and found.upper == pytest.approx(1.07)


def test_swapping_inverts_the_ratio() -> None:
    there = rounds(1.1, n=9)
    back = Rounds.of(there.second, there.first)
    a, b = ratio_of(there), ratio_of(back)
    assert a.value == pytest.approx(1 / b.value)
    assert a.lower == pytest.approx(1 / b.upper) and a.upper == pytest.approx(1 / b.lower)


def test_a_stall_moves_the_centre_little() -> None:
    assert ratio_of(rounds(1.0, stalls=1)).value < 1.01


def test_equal_models_pass_without_a_second_measurement() -> None:
    found = judge_latency(rounds(seed=1), rounds(seed=2), never)
    assert found.outcome is Outcome.PASS
    assert "not slower by 5.0%" in found.message


def test_a_slowdown_is_confirmed_before_it_is_said() -> None:
    slow = rounds(1.1, seed=3)
    found = judge_latency(rounds(seed=1), slow, lambda: rounds(1.1, seed=4))
    assert found.outcome is Outcome.REGRESSION
    assert found.confirmation is not None and "confirmed by a second run" in found.message
    once = judge_latency(rounds(seed=1), slow, lambda: rounds(1.0, seed=4))
    assert once.outcome is Outcome.INCONCLUSIVE and "does not confirm it" in once.message


def test_a_slowdown_that_does_not_matter_is_none() -> None:
    found = judge_latency(rounds(seed=1, jitter=0.002), rounds(1.03, seed=2, jitter=0.002), never)
    assert found.outcome is Outcome.PASS and found.ratio.lower > 1


def test_below_the_resolution_of_the_machine_nothing_is_claimed() -> None:
    noisy = rounds(seed=1, jitter=0.2)
    assert resolution_of(noisy) > 0.05
    found = judge_latency(noisy, rounds(2.0, seed=2), never)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "this machine tells slowdowns from" in found.message


def test_many_latencies_widen_the_intervals() -> None:
    floor, both = rounds(seed=1), rounds(1.0, seed=2)
    one, ten = (judge_latency(floor, both, never, tests=tests).ratio for tests in (1, 10))
    assert ten.upper > one.upper


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rounds.of([1.0] * 5, [1.0] * 5), "at least 6, got 5"),
        (lambda: Rounds.of([1.0] * 6, [1.0] * 7), "one length"),
        (lambda: Rounds.of([0.0] * 6, [1.0] * 6), "above 0"),
        (lambda: schedule(5), "at least 6, got 5"),
        (lambda: judge_latency(rounds(), rounds(), never, effect=0.0), "above 0"),
    ],
)
def test_mistakes(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_who_goes_first_alternates() -> None:
    assert schedule(6) == [("A", "B"), ("B", "A")] * 3
