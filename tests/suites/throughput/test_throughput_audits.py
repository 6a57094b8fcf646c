"""Every audit: a planted defect that it catches, and clean models that it does not flag."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import TimedContext
from crucibench.contracts.verdict import Severity
from crucibench.util.draws import Draws
from crucibench_suites.throughput.audits import cached_answers
from crucibench_suites.throughput.bench import Bench
from crucibench_suites.throughput.clock import SystemClock, TimedQueries, closed_loop
from crucibench_suites.throughput.records import FRESH, REPEATED
from crucibench_suites.throughput.scenarios import Offline, Server, Stream, Timing

from .conftest import Latency, Measure, Scripted, ScriptedClock, load, read

pytestmark = pytest.mark.slow

STREAM = Stream(name="single-stream", seconds=0.4, turns=10)
OFFLINE = Offline(
    name="offline", seconds=0.4, turns=10, sizes=(1, 8), points=("batch=1", "batch=8", "knee")
)
SERVER = Server(name="server", seconds=0.4, turns=10, loads=(0.5,), points=("load=0.5",))
ALL = (STREAM, OFFLINE, SERVER)


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_an_honest_steady_model_on_a_quiet_machine_is_clean(
    measure: Measure, scenario: Timing
) -> None:
    assert measure(scenario, 1e-3).findings == {}


@pytest.mark.parametrize("seed", range(2))
def test_ordinary_jitter_is_clean(measure: Measure, seed: int) -> None:
    times = 1e-3 * (1 + np.random.default_rng(seed).gamma(2, 0.02, 100_000))
    for scenario in ALL:
        assert measure(scenario, lambda call, batch: times[call]).findings == {}


class Caching(Scripted):
    """Knows every input that it has seen."""

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        seen = self.__dict__.setdefault("seen", set())
        key = batch.inputs.to_numpy().tobytes()
        self.clock.work(1e-4 if key in seen else 1e-3)
        seen.add(key)
        return Answer(scores=self.answer(batch))


def test_a_cache_is_found_though_the_timed_samples_repeat(measure: Measure) -> None:
    found = measure(STREAM, adapter=Caching)
    assert found.rows["latency-p50", ""].value == pytest.approx(0.1, rel=0.01)
    finding = found.findings["answers-from-a-cache"]
    assert finding.severity is Severity.INVALID
    assert finding.evidence["ratio"] == pytest.approx(10, rel=0.01)


def test_a_model_a_little_faster_on_known_inputs_has_no_cache(measure: Measure) -> None:
    class Warm(Caching):
        def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
            seen = self.__dict__.setdefault("seen", set())
            key = batch.inputs.to_numpy().tobytes()
            self.clock.work(0.95e-3 if key in seen else 1e-3)
            seen.add(key)
            return Answer(scores=self.answer(batch))

    assert measure(STREAM, adapter=Warm).findings == {}


def timed_as(change: Callable[[np.ndarray], np.ndarray]) -> type[Scripted]:
    """Returns a model that answers otherwise when the clock runs."""

    class Other(Scripted):
        def timed(self, batch: Batch) -> object:
            outputs = self._predict(batch, frozenset())
            return Answer(scores=change(outputs.scores))

    return Other


def constant(scores: np.ndarray) -> np.ndarray:
    return np.tile([[1.0, -1.0]], (len(scores), 1))


@pytest.mark.parametrize("scenario", ALL, ids=lambda one: one.name)
def test_a_constant_answer_while_timed_is_caught(measure: Measure, scenario: Timing) -> None:
    finding = measure(scenario, adapter=timed_as(constant)).findings["wrong-answers-while-timed"]
    assert finding.severity is Severity.INVALID
    assert 0 < finding.evidence["wrong"] <= finding.evidence["checked"]


def test_answers_that_are_not_numbers_are_wrong(measure: Measure) -> None:
    found = measure(STREAM, adapter=timed_as(lambda scores: scores * np.nan)).findings
    finding = found["wrong-answers-while-timed"]
    assert finding.severity is Severity.INVALID
    assert finding.evidence["wrong"] == finding.evidence["checked"] > 0


def test_half_precision_called_single_is_caught(measure: Measure) -> None:
    def halved(scores: np.ndarray) -> np.ndarray:
        return scores.astype(np.float16).astype(np.float32)

    found = measure(STREAM, adapter=timed_as(halved)).findings
    assert set(found) == {"other-numerics-while-timed"}
    assert 1e-4 < found["other-numerics-while-timed"].evidence["largest"] < 1e-2


def test_rounding_of_single_precision_is_clean(measure: Measure) -> None:
    def rounded(scores: np.ndarray) -> np.ndarray:
        return (scores * (1 + 1e-6)).astype(np.float32)

    assert measure(STREAM, adapter=timed_as(rounded)).findings == {}


def test_answers_that_nobody_can_read_are_told(measure: Measure) -> None:
    class Mute(Scripted):
        def timed(self, batch: Batch) -> object:
            self._predict(batch, frozenset())
            return None

    finding = measure(STREAM, adapter=Mute).findings["answers-not-checked"]
    assert finding.severity is Severity.SUSPECT


def test_labels_alone_are_checked(measure: Measure) -> None:
    class Labels(Scripted):
        flip = False

        def timed(self, batch: Batch) -> object:
            scores = self._predict(batch, frozenset()).scores
            assert scores is not None
            labels = scores.argmax(axis=1)
            return Answer(labels=1 - labels if self.flip else labels)

    class Flipped(Labels):
        flip = True

    assert measure(STREAM, adapter=Labels).findings == {}
    assert "wrong-answers-while-timed" in measure(STREAM, adapter=Flipped).findings


def test_a_shortcut_on_zeros_gains_nothing(measure: Measure) -> None:
    def latency(call: int, batch: Batch) -> float:
        return 1e-6 if not batch.inputs.to_numpy().any() else 1e-3

    assert measure(STREAM, latency).rows["latency-p50", ""].value == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(("sign", "word"), [(1, "slower"), (-1, "faster")])
def test_a_model_that_changes_while_timed_drifts(measure: Measure, sign: int, word: str) -> None:
    clock = ScriptedClock()
    found = measure(
        STREAM, lambda call, batch: 1e-3 * (1 + sign * 0.25 * clock.instant * 1e-9), clock=clock
    ).findings
    assert word in found["drift"].message
    assert sign * found["drift"].evidence["change"] > 0.05


def test_a_drift_of_one_per_cent_is_let_pass(measure: Measure) -> None:
    clock = ScriptedClock()
    assert (
        "drift"
        not in measure(
            STREAM, lambda call, batch: 1e-3 * (1 + 0.015 * clock.instant * 1e-9), clock=clock
        ).findings
    )


def test_rounds_that_differ_are_noisy(measure: Measure) -> None:
    clock = ScriptedClock()
    speeds = np.random.default_rng(1).uniform(0.7, 1.3, 1000)
    found = measure(
        STREAM, lambda call, batch: 1e-3 * speeds[int(clock.instant * 1e-9 / 0.05)], clock=clock
    ).findings
    assert found["noisy-rounds"].evidence["coefficient_of_variation"] > 0.05


def test_noise_is_told_once_with_the_worst_point(measure: Measure) -> None:
    clock = ScriptedClock()
    speeds = np.random.default_rng(1).uniform(0.7, 1.3, 1000)

    def latency(call: int, batch: Batch) -> float:
        spread = 1.0 if len(batch) == 8 else 0.5
        return 1e-3 * (1 + spread * (speeds[int(clock.instant * 1e-9 / 0.04)] - 1))

    found = measure(OFFLINE, latency, clock=clock)
    told = [one for one in OFFLINE.audit(found.evidence) if one.code == "noisy-rounds"]
    assert len(told) == 1
    assert told[0].evidence["point"] == "batch=8"
    assert "at 2 of 2 points by over 5 %" in told[0].message


def test_other_processes_are_noticed(measure: Measure) -> None:
    cores = os.cpu_count() or 1
    busy = measure(STREAM, clock=ScriptedClock(others=0.3 * cores)).findings
    assert busy["busy-machine"].evidence["share"] == pytest.approx(0.3, rel=0.02)
    assert measure(STREAM, clock=ScriptedClock(others=0.05 * cores)).findings == {}


def on_the_bench(adapter: Scripted) -> Bench:
    return Bench(TimedContext(adapter, Draws(0, "t"), load, read(adapter.clock)), SystemClock())


_SPIN = """
import time
while time.process_time() < 0.5:
    pass
"""


@pytest.mark.skipif(SystemClock().machine() is None, reason="this system does not tell")
def test_a_neighbour_process_is_noticed_by_the_real_clocks() -> None:
    """What others used is at least what the neighbour did, however busy the machine is."""
    bench = on_the_bench(Scripted(ScriptedClock(), lambda *_: 0.0))

    def beside_it() -> TimedQueries:
        subprocess.run([sys.executable, "-S", "-c", _SPIN], check=True)
        return closed_loop(lambda query: query, [0], SystemClock(), seconds=0, most=1)

    bench.block("", beside_it)
    columns = bench.tape.columns()
    assert columns["value"][columns["id"].index("others")] > 0.4


def test_warm_up_without_an_end_is_told(measure: Measure) -> None:
    falling = measure(STREAM, lambda call, batch: 0.3 / (1 + call) + 1e-4).findings
    assert "warm-up-cut-off" in falling
    slow = measure(STREAM, 5.0).findings
    assert slow["warm-up-cut-off"].evidence["queries"] == 1


def test_a_clock_too_coarse_for_the_model_is_told(measure: Measure) -> None:
    short = Stream(name="single-stream", seconds=0.02, turns=2)
    assert "clock-too-coarse" in measure(short, 1e-6).findings
    assert "clock-too-coarse" not in measure(short, 1e-4).findings


def test_work_that_goes_on_after_the_answer_is_told(measure: Measure) -> None:
    clock = ScriptedClock()
    clock.background = 0.9
    assert measure(STREAM, clock=clock).findings["unfinished-work"].evidence["cores"] > 0.8


class Backlog(ScriptedClock):
    """A device with a queue: it works through it while somebody waits or sleeps."""

    left = 0.0

    def until(self, instant: int) -> None:
        done = min(self.left, max(0, instant - self.instant) * 1e-9)
        self.left -= done
        self.used += done
        super().until(instant)


class Queueing(Scripted):
    """Puts a millisecond of work in the queue and comes back at once: nobody synchronises."""

    waits = False

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        assert isinstance(self.clock, Backlog)
        self.clock.left += 1e-3
        self.clock.work(1e-5)
        if self.waits:
            self.clock.until(self.clock.instant + round(self.clock.left * 1e9))
        return Answer(scores=self.answer(batch))


class Synchronised(Queueing):
    waits = True


def test_a_model_whose_work_is_only_queued_is_told(measure: Measure) -> None:
    short = Stream(name="single-stream", seconds=0.02, turns=2)
    hasty = measure(short, clock=Backlog(), adapter=Queueing)
    assert hasty.rows["latency-p50", ""].value == pytest.approx(0.01, rel=0.01)  # a lie
    assert hasty.findings["unfinished-work"].evidence["cores"] == pytest.approx(1, rel=0.01)
    honest = measure(STREAM, clock=Backlog(), adapter=Synchronised)
    assert honest.rows["latency-p50", ""].value == pytest.approx(1.01, rel=0.01)
    assert honest.findings == {}


class Deferring(Scripted):
    """Hands its work to a thread and comes back at once, as a device does that nobody waits for."""

    def __init__(self, clock: ScriptedClock, latency: Latency) -> None:
        super().__init__(clock, latency)
        self.stop = threading.Event()
        self.thread: threading.Thread | None = None

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        if self.thread is None and self.calls == 0:
            self.thread = threading.Thread(target=self._work, daemon=True)
            self.thread.start()
        self.calls += 1
        return Answer(scores=self.answer(batch))

    def _work(self) -> None:
        while not self.stop.is_set():
            sum(range(1000))


def idle_cores(adapter: Scripted) -> float:
    """Returns how many cores the process uses when nobody asks the model anything, measured."""
    bench = on_the_bench(adapter)
    adapter.timed(bench.queries(1)[0])
    bench.idle()
    columns = bench.tape.columns()
    return float(columns["value"][columns["id"].index("idle-cpu")])


def test_a_thread_that_works_on_is_noticed_by_the_real_clocks() -> None:
    model = Deferring(ScriptedClock(), lambda call, batch: 0.0)
    try:
        working = idle_cores(model)
    finally:
        model.stop.set()
        assert model.thread is not None
        model.thread.join()
    resting = idle_cores(Scripted(ScriptedClock(), lambda call, batch: 0.0))
    # The share of a core that a busy thread gets is the machine's to give; that of none is nil.
    assert resting < 0.02
    assert working > 5 * max(resting, 0.01)


@pytest.mark.parametrize("rounds", [3, pytest.param(10, marks=pytest.mark.thorough)])
def test_honest_models_on_noisy_machines_are_not_called_dishonest(
    measure: Measure, rounds: int
) -> None:
    """Jitter, heavy tails, stalls, slow stretches: what it says is about the machine, not them."""
    rng = np.random.default_rng(0)
    calls = 60_000
    noises = {
        "jitter": rng.lognormal(0, 0.3, calls),
        "heavy tails": 1 + rng.pareto(1.5, calls),
        "stalls": np.where(rng.random(calls) < 0.01, 50.0, 1.0),
        "slow stretches": np.repeat(rng.uniform(1, 3, calls // 20), 20),
    }
    about_the_machine = {
        "noisy-rounds", "drift", "warm-up-cut-off", "busy-machine", "clock-too-coarse",
    }  # fmt: skip
    scenario = Stream(name="single-stream", seconds=0.4, turns=rounds)
    for name, times in noises.items():
        found = measure(scenario, lambda call, batch, times=times: 1e-3 * times[call % calls])
        assert set(found.findings) <= about_the_machine, (name, rounds)


def test_false_alarms_of_the_audit_for_caches_are_rare() -> None:
    """Rounds of 5 new inputs and the same ones again, log-normal noise of 50 %: no cache at all."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(1500):
        rounds = int(rng.choice([2, 3, 6, 10]))
        new, again = (np.median(rng.lognormal(0, 0.5, (rounds, 5)), axis=1) for _ in range(2))
        alarms += bool(cached_answers(Pairs(new, again)))  # type: ignore[arg-type]
    assert alarms <= 6  # 0.05 % of 1,500 is less than one; six would come by chance in no run
    real = Pairs(np.full(3, 1.0) * rng.lognormal(0, 0.02, 3), np.full(3, 0.3))
    assert [one.code for one in cached_answers(real)] == ["answers-from-a-cache"]  # type: ignore[arg-type]


class Pairs:
    """Readings that hold medians by round."""

    def __init__(self, new: np.ndarray, again: np.ndarray) -> None:
        self._medians = {FRESH: new, REPEATED: again}

    def queries(self, point: str, phase: str) -> SimpleNamespace:
        return SimpleNamespace(medians=self._medians[phase])


def test_a_model_that_slows_down_under_load_is_overloaded(measure: Measure) -> None:
    late = measure(SERVER, lambda call, batch: 1e-3 if call < 90 else 2.5e-3)
    assert late.findings["overloaded"].evidence["offered"] > 0.95
    assert "overloaded" not in measure(SERVER, 1e-3).findings
