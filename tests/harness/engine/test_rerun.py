"""Timing in turns, on a clock that the models themselves move."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from crucibench.engine.rerun import Rerun, Seconds
from crucibench.gating.latency import LatencyVerdict, Rounds, judge_latency, schedule
from crucibench.gating.result import Outcome

ROUNDS = 12


class Stage:
    """A clock, and models that take as long as they are told; each call is written down."""

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.now = 0.0
        self.called: list[str] = []
        self.noise = noise
        self.rng = np.random.default_rng(seed)

    def clock(self) -> float:
        # What disturbs a round lasts as long as the round.
        self.factor = float(np.exp(self.noise * self.rng.standard_normal()))
        return self.now

    def model(self, name: str, seconds: Iterator[float] | float) -> Callable[[], None]:
        def call() -> None:
            self.called.append(name)
            taken = seconds if isinstance(seconds, float) else next(seconds)
            self.now += taken * getattr(self, "factor", 1.0)

        return call


def staged(
    slower: Iterator[float] | float, *, noise: float = 0.003, seed: int = 0
) -> tuple[Stage, Rerun]:
    stage = Stage(noise, seed)
    rerun = Rerun(
        stage.model("A", 0.002), stage.model("B", slower), schedule(ROUNDS), clock=stage.clock
    )
    return stage, rerun


def rounds(seconds: Seconds) -> Rounds:
    return Rounds.of(seconds.first, seconds.second)


def judged(rerun: Rerun) -> LatencyVerdict:
    floor, measured = rerun.floor(), rerun.measured()
    return judge_latency(rounds(floor), rounds(measured), lambda: rounds(rerun.measured()))


def test_a_slower_candidate_is_a_regression_once_confirmed() -> None:
    _, rerun = staged(0.0024)
    found = judged(rerun)
    assert found.outcome is Outcome.REGRESSION
    assert found.confirmation is not None
    assert found.ratio.value == pytest.approx(1.2, rel=0.02)


def test_a_slowdown_that_a_second_run_does_not_show_is_none() -> None:
    stage, rerun = staged(0.002)
    floor = rerun.floor()
    stage_of = iter([*([0.0024] * (rerun.calls * ROUNDS))])
    rerun._candidate = stage.model("B", stage_of)
    measured = rerun.measured()
    rerun._candidate = stage.model("B", 0.002)
    found = judge_latency(rounds(floor), rounds(measured), lambda: rounds(rerun.measured()))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "does not confirm" in found.message


@pytest.mark.parametrize(
    "noise", [0.02, *(pytest.param(one, marks=pytest.mark.thorough) for one in (0.0, 0.003, 0.05))]
)
def test_equal_models_are_never_a_regression(noise: float) -> None:
    outcomes = {judged(staged(0.002, noise=noise, seed=seed)[1]).outcome for seed in range(5)}
    assert outcomes <= {Outcome.PASS, Outcome.INCONCLUSIVE}
    if noise <= 0.003:
        assert outcomes == {Outcome.PASS}


def test_on_a_machine_too_noisy_nothing_is_claimed() -> None:
    for seed in range(5):
        found = judged(staged(0.0024, noise=0.3, seed=seed)[1])
        assert found.outcome is Outcome.INCONCLUSIVE
        assert "this machine tells slowdowns from" in found.message


def test_the_models_take_turns_and_neither_is_favoured() -> None:
    stage, rerun = staged(0.004, noise=0.0)
    assert rerun.calls == 25  # 50 ms of the baseline; as many for either
    stage.called.clear()
    found = rerun.measured()
    turns = stage.called[:: rerun.calls]
    assert stage.called == [name for name in turns for _ in range(rerun.calls)]
    assert "".join(turns) == "ABBA" * (ROUNDS // 2)
    assert found.first == pytest.approx([0.002] * ROUNDS)
    assert found.second == pytest.approx([0.004] * ROUNDS)


def test_the_floor_is_the_baseline_against_itself() -> None:
    stage, rerun = staged(0.004)
    stage.called.clear()
    found = rerun.floor()
    assert set(stage.called) == {"A"}
    assert len(found.first) == len(found.second) == ROUNDS
    assert len(stage.called) == 2 * ROUNDS * rerun.calls


def test_both_are_warmed_up_first() -> None:
    # A first call that compiles is in no round.
    stage = Stage()
    first = iter([5.0, *([0.002] * 10_000)])
    second = iter([7.0, *([0.002] * 10_000)])
    rerun = Rerun(stage.model("A", first), stage.model("B", second), schedule(6), clock=stage.clock)
    assert rerun.calls == 25
    assert rerun.measured().second == pytest.approx([0.002] * 6)


def test_a_slow_model_has_one_call_a_round() -> None:
    stage = Stage()
    rerun = Rerun(stage.model("A", 1.0), stage.model("B", 1.0), schedule(6), clock=stage.clock)
    assert rerun.calls == 1


def test_a_model_that_fails_leaves_the_collector_on() -> None:
    _, rerun = staged(0.002)

    def broken() -> None:
        raise ValueError("no")

    rerun._candidate = broken
    with pytest.raises(ValueError, match="no"):
        rerun.measured()
    assert gc.isenabled()
