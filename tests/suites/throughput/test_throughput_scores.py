"""What the scenarios report of models whose latency is a known function."""

from __future__ import annotations

import importlib.machinery
import math
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.rows import Row
from crucibench.metrics.scoring import score
from crucibench.stats import quantile_rank
from crucibench.util import devices
from crucibench_suites.throughput import device
from crucibench_suites.throughput.clock import SystemClock
from crucibench_suites.throughput.device import ceiling, count_flops
from crucibench_suites.throughput.regimes import Sustained
from crucibench_suites.throughput.scenarios import Offline, Server, Stream
from crucibench_suites.throughput.scoring import pooled_quantile
from crucibench_suites.throughput.search import Bracket, RateSearch, Trial

from .conftest import Measure, Scripted, ScriptedClock

STREAM = Stream(name="single-stream", seconds=4.0, turns=10)


def offline(*sizes: int, seconds: float = 2.0) -> Offline:
    points = (*(f"batch={size}" for size in sizes), "knee")
    return Offline(name="offline", seconds=seconds, turns=6, sizes=sizes, points=points)


def server(*loads: float, seconds: float) -> Server:
    points = tuple(f"load={load:g}" for load in loads)
    return Server(name="server", seconds=seconds, turns=10, loads=loads, points=points)


def test_a_constant_latency_is_reported_as_it_is(measure: Measure) -> None:
    rows = measure(STREAM, 1e-3).rows
    for metric in ("p50", "p90", "p95", "p99", "p90-early-stopping", "p99-early-stopping"):
        assert rows[f"latency-{metric}", ""].value == pytest.approx(1.0, rel=1e-3)
    assert rows["latency-mean", ""].value == pytest.approx(1.0, rel=1e-3)
    assert rows["throughput", ""].value == pytest.approx(1000, rel=1e-3)
    assert rows["coefficient-of-variation", ""].value == pytest.approx(0, abs=1e-9)
    assert rows["noise-floor", ""].value == pytest.approx(0, abs=1e-9)


def test_a_percentile_that_the_queries_cannot_support_is_null(measure: Measure) -> None:
    rows = measure(STREAM, 1e-3).rows
    row = rows["latency-p99.9", ""]
    assert row.value is None
    assert row.n == pytest.approx(4000, abs=10)
    assert row.reason == f"{row.n} queries were timed, and p99.9 needs 6636 (early stopping, t = 1)"
    few = measure(STREAM, 0.1).rows
    assert few["latency-p50", ""].value == pytest.approx(100)
    assert few["latency-p90", ""].value is None
    assert few["latency-p90-early-stopping", ""].value is None


def test_rare_stalls_have_the_right_tail(measure: Measure) -> None:
    rows = measure(STREAM, lambda call, batch: 20e-3 if call % 50 == 0 else 1e-3).rows
    assert rows["latency-p50", ""].value == pytest.approx(1, rel=1e-3)
    assert rows["latency-p95", ""].value == pytest.approx(1, rel=1e-3)
    assert rows["latency-p99", ""].value == pytest.approx(20, rel=1e-3)
    mean = 0.98 * 1 + 0.02 * 20
    assert rows["latency-mean", ""].value == pytest.approx(mean, rel=0.02)
    assert rows["throughput", ""].value == pytest.approx(1e3 / mean, rel=0.02)


def test_random_latency_lies_within_the_intervals(measure: Measure) -> None:
    rng = np.random.default_rng(3)
    times = rng.exponential(1e-3, 60_000)
    rows = measure(STREAM, lambda call, batch: times[call]).rows
    for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        row = rows[f"latency-{name}", ""]
        truth = -np.log(1 - share)
        assert row.lower is not None and row.upper is not None
        assert row.lower <= truth <= row.upper
        assert row.upper - row.lower < 0.25 * truth
    throughput = rows["throughput", ""]
    assert throughput.lower is not None and throughput.upper is not None
    assert throughput.lower <= 1000 <= throughput.upper


def test_a_machine_that_changes_by_round_widens_the_interval(measure: Measure) -> None:
    """Within a round all queries are alike: order statistics alone would be far too sure."""
    clock = ScriptedClock()
    rng = np.random.default_rng(0)
    speeds = rng.uniform(0.8, 1.2, 100)
    rows = measure(
        STREAM, lambda call, batch: 1e-3 * speeds[int(clock.instant * 1e-9 / 0.5)], clock=clock
    ).rows
    row = rows["latency-p50", ""]
    assert row.method == "student-t over rounds"
    assert row.lower is not None and row.upper is not None
    assert row.upper - row.lower > 0.1
    assert rows["coefficient-of-variation", ""].value > 5


def test_steady_drift_is_no_noise_floor(measure: Measure) -> None:
    clock = ScriptedClock()
    rows = measure(
        STREAM, lambda call, batch: 1e-3 * (1 + clock.instant * 1e-9 / 50), clock=clock
    ).rows
    assert rows["noise-floor", ""].value < 1.0


def test_warm_up_is_counted_and_not_timed(measure: Measure) -> None:
    times = 1e-3 * (1 + 99 * np.exp(-np.arange(100_000) / 20))
    rows = measure(STREAM, lambda call, batch: times[call]).rows
    assert rows["first-call", ""].value == pytest.approx(100, rel=1e-3)
    assert 100 < rows["warm-up-queries", ""].value < 2000
    assert rows["latency-p99", ""].value == pytest.approx(1, rel=0.05)


def test_samples_of_a_query_count_for_throughput(measure: Measure) -> None:
    multi = Stream(name="multi-stream", seconds=4.0, turns=10, samples=8)
    rows = measure(multi, lambda call, batch: 1e-3 * len(batch)).rows
    assert rows["latency-p50", ""].value == pytest.approx(8, rel=1e-3)
    assert rows["throughput", ""].value == pytest.approx(1000, rel=1e-3)


def test_the_knee_of_a_batch_sweep(measure: Measure) -> None:
    """t(b) = 10 ms + b * 1 ms: throughput b / t rises to 1,000 a second."""
    sizes = (1, 16, 64, 256)
    rows = measure(offline(*sizes, seconds=6.0), lambda call, batch: 1e-2 + 1e-3 * len(batch)).rows
    for size in sizes:
        expected = size / (1e-2 + 1e-3 * size)
        assert rows["throughput", f"batch={size}"].value == pytest.approx(expected, rel=1e-3)
        latency = rows["latency-p50", f"batch={size}"].value
        assert latency == pytest.approx(10 + size, rel=1e-3)
    assert rows["batch-size", "knee"].value == 256
    assert rows["throughput", "knee"].value == rows["throughput", "batch=256"].value
    flat = measure(offline(*sizes), lambda call, batch: 1e-4 * len(batch)).rows
    assert flat["batch-size", "knee"].value == 1


def test_what_cannot_be_measured_is_null_with_its_reason(measure: Measure) -> None:
    rows = measure(offline(1, 4)).rows
    for metric in ("flops-per-sample", "flop-rate", "flop-utilisation"):
        assert rows[metric, "knee"].value is None
        assert rows[metric, "knee"].reason == "torch can't look into the model"
    assert rows["energy-per-sample", "knee"].value is None
    assert rows["parameters", "knee"].reason == "the model does not say how many it has"


def test_memory_that_runs_out_ends_the_sweep_and_nothing_else(measure: Measure) -> None:
    def latency(call: int, batch: object) -> float:
        if len(batch) > 16:
            raise MemoryError
        return 1e-3

    rows = measure(offline(1, 16, 64, 256), latency).rows
    assert rows["throughput", "batch=16"].value == pytest.approx(16_000, rel=1e-2)
    assert rows["throughput", "batch=64"].reason == "memory ran out"
    assert rows["throughput", "batch=256"].value is None
    assert rows["batch-size", "knee"].value == 16
    with pytest.raises(MemoryError):
        measure(offline(64), latency)


def test_a_batch_that_takes_too_long_ends_the_sweep(measure: Measure) -> None:
    rows = measure(offline(1, 16, 64, 256), lambda call, batch: 0.1 * len(batch)).rows
    assert rows["throughput", "batch=16"].value == pytest.approx(10, rel=1e-3)
    assert rows["throughput", "batch=64"].reason.startswith("the sweep ended at a smaller batch")


def test_waiting_is_that_of_queueing_theory(measure: Measure) -> None:
    """M/D/1: mean time in the system s (1 + rho / (2 (1 - rho))), Pollaczek and Khinchine."""
    rows = measure(server(0.5, 0.8, seconds=60.0), 1e-3, clock=ScriptedClock(reading_ns=0)).rows
    for rho in (0.5, 0.8):
        point = f"load={rho:g}"
        expected = 1 + rho / (2 * (1 - rho))
        row = rows["latency-mean", point]
        assert row.lower is not None and row.upper is not None
        assert row.lower * 0.99 <= expected <= row.upper * 1.01
        assert row.value == pytest.approx(expected, rel=0.06)
        assert rows["arrival-rate", point].value == pytest.approx(1000 * rho, rel=1e-6)
        # Whoever finds nobody waits for nobody: the share 1 - rho.
        assert rows["latency-p50", point].value >= 1.0


def test_the_size_on_disk_is_that_of_the_files_or_says_why_not(measure: Measure) -> None:
    found = measure(offline(1, seconds=0.2))

    def size(**facts: object) -> Row:
        own = found.evidence.own
        evidence = replace(found.evidence, own=replace(own, model=replace(own.model, **facts)))
        rows = score(found.scenario, evidence).rows
        return next(row for row in rows if row.metric == "size-on-disk")

    assert size(diagnostics={"file_bytes": 3 * 2**20}).value == 3
    assert (size().value, size(variant="int8").value) == (None, None)
    assert size().reason == "the model's address names no file of weights"
    assert size(variant="int8").reason.startswith("a variant is made when it is opened")


def test_models_get_the_same_waits_scaled(measure: Measure) -> None:
    quick = measure(server(0.5, seconds=2.0), 1e-3, clock=ScriptedClock(reading_ns=0))
    slow = measure(server(0.5, seconds=20.0), 1e-2, clock=ScriptedClock(reading_ns=0))
    fast, late = (found.rows["latency-mean", "load=0.5"].value for found in (quick, slow))
    assert late == pytest.approx(10 * fast, rel=1e-4)


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_round_that_counts_twice_is_there_twice(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    seconds, rounds = rng.random(300), np.sort(rng.integers(0, 5, 300))
    rounds[-1] = 4
    weights = rng.integers(0, 3, 5)
    repeated = np.repeat(seconds, weights[rounds])
    found = pooled_quantile(seconds, rounds, share)(weights[None, :].astype(float))[0]
    if len(repeated):
        assert found == np.sort(repeated)[quantile_rank(len(repeated), share)]
    else:
        assert np.isnan(found)


class Net(Adapter):
    capabilities = frozenset({Capability.GRADIENTS})

    def __init__(self) -> None:
        conv = torch.nn.Conv2d(1, 4, 3)
        self.net = torch.nn.Sequential(
            conv, torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 10)
        )

    @classmethod
    def open(cls, opening: object) -> Adapter:
        raise NotImplementedError

    def _predict(self, batch: Batch, want: frozenset[str]):  # noqa: ANN202
        raise NotImplementedError

    def module(self) -> torch.nn.Module:
        return self.net

    def encode(self, batch: Batch) -> torch.Tensor:
        return batch.inputs


def test_operations_are_those_of_the_formulas() -> None:
    found = count_flops(Net(), Batch(("a", "b"), torch.zeros(2, 1, 8, 8)))
    # 2 x outputs x inputs of each: 6 x 6 x 4 places of 9 weights, and 144 x 10.
    assert found["flops"] == 2 * 36 * 4 * 9 + 2 * 144 * 10
    assert found["parameters"] == 4 * 9 + 4 + 1440 + 10
    assert [name for name in found if "relu" in name] == ["uncounted:relu"]


def test_a_ceiling_is_measured_only_within_torch() -> None:
    found = ceiling(Net(), SystemClock())
    assert found["peak-flops"] > 1e6
    assert found["peak-bandwidth"] > 1e7
    other = Net()
    other.capabilities = frozenset({Capability.SCORES})  # type: ignore[misc]
    assert ceiling(other, SystemClock()) == {}
    assert count_flops(other, Batch(("a",), torch.zeros(1, 1, 8, 8))) == {}
    with pytest.raises(NotImplementedError):
        Net.open(None)


# The device's own clock beside the wall's: by a model that says it, and by torch's events.

STREAM_DEVICE = Stream(name="single-stream", seconds=0.4, turns=4)
OFFLINE = Offline(
    name="offline", seconds=0.4, turns=4, sizes=(1, 8), points=("batch=1", "batch=8", "knee")
)
SERVER = Server(name="server", seconds=0.4, turns=4, loads=(0.5,), points=("load=0.5",))

LAUNCH = 2e-4


class OnDevice(Scripted):
    """What is asked takes its latency on a device, and 0.2 ms of preparing before."""

    device = "cuda:0"
    took: float | None = None

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        self.clock.work(LAUNCH)
        begun = self.clock.instant
        outputs = super()._predict(batch, want)
        self.took = (self.clock.instant - begun) * 1e-9
        return outputs

    def device_seconds(self) -> float | None:
        return self.took


def test_both_times_of_a_query_are_kept(measure: Measure) -> None:
    for scenario, point, batch in ((STREAM_DEVICE, "", 1), (OFFLINE, "knee", 8), (SERVER, None, 1)):
        found = measure(scenario, lambda call, one: 1e-3 + 1e-5 * len(one), adapter=OnDevice)
        records = found.evidence.own.records
        queries = records.array("phase") == "query"
        device, wall = (records.array(name)[queries] for name in ("device", "seconds"))
        assert (wall - device >= LAUNCH * (1 - 1e-6)).all()
        if point is not None:
            row = found.rows["device-latency-p50", point]
            assert row.value == pytest.approx(1 + 0.01 * batch, rel=1e-6)
            assert row.lower is not None and row.upper is not None
            assert row.lower <= row.value <= row.upper


def test_a_processor_has_no_events_and_the_row_says_so(measure: Measure) -> None:
    for scenario, point in ((STREAM_DEVICE, ""), (OFFLINE, "knee")):
        found = measure(scenario)
        row = found.rows["device-latency-p50", point]
        assert (row.value, row.n) == (None, 0)
        assert row.reason == "the model answers on no CUDA device, and a processor has no events"
        assert not (found.evidence.own.records.array("device") >= 0).any()


class Event:
    """A CUDA event whose device keeps scripted time, in ms."""

    clock: ScriptedClock

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing  # else torch refuses to tell the time
        self.at = 0.0

    def record(self, stream: Any) -> None:
        assert stream == "the stream of cuda:1"
        self.at = self.clock.instant * 1e-6

    def elapsed_time(self, other: Event) -> float:
        return other.at - self.at


def test_events_are_recorded_around_the_work_in_the_stream_of_its_device(
    clock: ScriptedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    Event.clock = clock
    waited: list[str] = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    monkeypatch.setattr(devices, "synchronise", waited.append)
    watch = devices.watch("cuda:1")
    assert watch.seconds() is None  # nothing was watched yet

    def work(inputs: torch.Tensor) -> torch.Tensor:
        assert not waited
        clock.work(3e-3)
        return inputs + 1

    clock.work(1.0)
    assert watch.around(work, torch.zeros(2)).tolist() == [1, 1]
    assert waited == ["cuda:1"]
    clock.work(1.0)
    assert watch.seconds() == pytest.approx(3e-3)
    processor = devices.watch("cpu")
    assert processor.around(lambda inputs: inputs * 2, torch.ones(1)).tolist() == [2]
    assert processor.seconds() is None


# Energy by NVML's counter, on a device that is made up.

IDLE, BUSY = 50.0, 300.0


class OnCuda(Scripted):
    """Says that it answers on a device."""

    device = "cuda:0"


class Nvml(ModuleType):
    """A device of 300 W at work and 50 W at rest, by a scripted clock."""

    NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self, clock: ScriptedClock) -> None:
        super().__init__("pynvml")
        self.__spec__ = importlib.machinery.ModuleSpec("pynvml", None)
        self.clock = clock
        self.reasons = 0
        self.counts = True
        self.others = 0

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's own names
        pass

    def nvmlDeviceGetHandleByUUID(self, name: str) -> str:  # noqa: N802
        assert name == "GPU-made-up"
        return name

    def nvmlDeviceGetTotalEnergyConsumption(self, device: str) -> int:  # noqa: N802
        if not self.counts:
            raise self.NVMLError("Not Supported")
        at_rest = self.clock.instant * 1e-9 - self.clock.used
        return round(1e3 * (BUSY * self.clock.used + IDLE * at_rest))

    def nvmlDeviceGetUtilizationRates(self, device: str) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=self.others)

    def nvmlDeviceGetClockInfo(self, device: str, which: int) -> int:  # noqa: N802
        return 1410

    def nvmlDeviceGetTemperature(self, device: str, which: int) -> int:  # noqa: N802
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetPowerUsage(self, device: str) -> int:  # noqa: N802
        return 300_000

    def nvmlDeviceGetCurrentClocksEventReasons(self, device: str) -> int:  # noqa: N802
        return self.reasons


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch, clock: ScriptedClock) -> Nvml:
    made = Nvml(clock)
    monkeypatch.setitem(sys.modules, "pynvml", made)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="made-up")
    )
    return made


def one_batch(seconds: float) -> Offline:
    return Offline(
        name="offline",
        seconds=seconds,
        turns=4,
        sizes=(1, 8),
        points=("batch=1", "batch=8", "knee"),
    )


def test_energy_is_that_above_rest_a_sample(
    nvml: Nvml, clock: ScriptedClock, measure: Measure
) -> None:
    found = measure(one_batch(12.0), 4e-3, clock=clock, adapter=OnCuda)
    row = found.rows["energy-per-sample", "knee"]
    # Eight samples in 4 ms at 250 W more than at rest.
    assert row.value == pytest.approx((BUSY - IDLE) * 4e-3 / 8, rel=0.01)
    found = measure(one_batch(4.0), 4e-3, clock=clock, adapter=OnCuda)
    short = found.rows["energy-per-sample", "knee"]
    assert short.value is None
    assert short.reason == "4 s were timed, and the counter needs 10 s"


def test_a_device_says_its_clock_and_whether_it_is_slowed_down(nvml: Nvml) -> None:
    meter = device.PowerMeter("cuda:0")
    assert meter.state() == {
        "sm-clock": 1410,
        "power": 300,
        "throttled": 0,
    }  # no temperature is told
    nvml.reasons = 0x1  # idle
    assert meter.state()["throttled"] == 0
    nvml.reasons = 0x20 | 0x1
    assert meter.state()["throttled"] == 1


def test_times_of_a_device_that_was_slowed_down_are_suspect(
    nvml: Nvml, clock: ScriptedClock, measure: Measure
) -> None:
    sustained = Sustained(seconds=1.0, turns=2, samples=8)
    stream = Stream(name="single-stream", seconds=1.0, turns=2)
    server = Server(name="server", seconds=1.0, turns=2, loads=(0.5,), points=("load=0.5",))
    for scenario, points in ((one_batch(1.0), 2), (sustained, 2), (stream, 1), (server, 1)):
        nvml.reasons = 0x1
        assert measure(scenario, 4e-3, clock=clock, adapter=OnCuda).findings == {}
        nvml.reasons = 0x40
        found = measure(scenario, 4e-3, clock=clock, adapter=OnCuda)
        told = [one for one in scenario.audit(found.evidence) if one.code == "throttled"]
        assert len(told) == points
        assert "its clock was down to 1410 MHz" in told[0].message


def test_others_on_the_device_are_told(nvml: Nvml, clock: ScriptedClock, measure: Measure) -> None:
    for scenario in (one_batch(1.0), Sustained(seconds=1.0, turns=2, samples=8)):
        nvml.others = 4
        assert measure(scenario, 4e-3, clock=clock, adapter=OnCuda).findings == {}
        nvml.others = 35
        found = measure(scenario, 4e-3, clock=clock, adapter=OnCuda).findings
        assert found["busy-device"].evidence["share"] == pytest.approx(0.35)


def test_what_cannot_be_read_is_a_reason(nvml: Nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.counts = False
    with pytest.raises(LookupError, match="of cuda:0 can't be read: Not Supported"):
        device.PowerMeter("cuda:0")
    with pytest.raises(LookupError, match="no hardware counter of cpu is read"):
        device.PowerMeter("cpu")
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LookupError, match="crucibench\\[gpu\\]"):
        device.PowerMeter("cuda")


# The highest rate that keeps a latency bound: against the theory of M/D/1, and its verdicts.

SERVICE = 1e-3


def search(
    bound: float, *, seconds: float = 40.0, turns: int = 20, tail: str = "p99"
) -> RateSearch:
    return RateSearch(
        name="highest-rate", seconds=seconds, turns=turns, bound=bound, percentile=tail
    )


def waits_no_longer(wait: float, rho: float) -> float:
    """P(W <= wait) of M/D/1 with service of one unit (Erlang 1909; Gross and Harris, 5.1.5)."""
    terms = (
        (rho * (k - wait)) ** k / math.factorial(k) * math.exp(-rho * (k - wait))
        for k in range(math.floor(wait) + 1)
    )
    return (1 - rho) * sum(terms)


def test_the_formula_is_that_of_the_mean_waiting_time() -> None:
    """E[W] = rho / (2 (1 - rho)), Pollaczek and Khinchine, is the integral of P(W > t)."""
    for rho in (0.3, 0.7):
        step = 0.01
        tail = sum(1 - waits_no_longer((k + 0.5) * step, rho) for k in range(1200)) * step
        assert tail == pytest.approx(rho / (2 * (1 - rho)), rel=0.01)


@pytest.mark.parametrize("bound", [3.0, 6.0])
def test_the_rate_that_is_found_is_that_of_queueing_theory(measure: Measure, bound: float) -> None:
    found = measure(search(bound * SERVICE), SERVICE, clock=ScriptedClock(reading_ns=0))
    row = found.rows["highest-rate", ""]
    trials = score(found.scenario, found.evidence).tables["trials"]
    last = trials[trials.rate == row.value].iloc[0]
    # Early stopping asks for a little more than the percentile, the fewer the queries.
    share = 1 - last.allowed / last.queries
    assert 0.99 < share < 0.994
    rho = brentq(lambda load: waits_no_longer(bound - 1, load) - share, 0.01, 0.99)
    assert row.value == pytest.approx(rho / SERVICE, rel=0.08)
    assert row.lower is not None and row.upper is not None
    assert 0 < row.upper - row.lower <= 0.021 * row.upper
    assert found.findings == {}


def test_a_bound_that_no_rate_keeps_is_null(measure: Measure) -> None:
    found = measure(search(0.5 * SERVICE, seconds=2.0, turns=5), SERVICE)
    row = found.rows["highest-rate", ""]
    assert row.value is None
    assert row.reason is not None and row.reason.startswith("no rate kept the bound, down to")


def test_a_model_too_slow_for_the_percentile_is_null(measure: Measure) -> None:
    row = measure(search(9.0, seconds=1.0), 0.5).rows["highest-rate", ""]
    assert row.value is None
    assert row.reason is not None and "lasts more than ten times" in row.reason


def test_a_search_that_is_cut_short_says_so(measure: Measure) -> None:
    found = measure(search(3 * SERVICE, seconds=4.0, turns=3), SERVICE).findings
    assert set(found) == {"search-left-open"}


def test_a_rate_that_is_not_kept_again_is_told(measure: Measure) -> None:
    """The model becomes slower once the search has narrowed: the last trial, the same, fails."""
    asked: list[int] = []

    def counting(call: int, batch: object) -> float:
        asked.append(call)
        return SERVICE

    steady = measure(search(6 * SERVICE, seconds=4.0, turns=12), counting)
    assert "search-contradicts-itself" not in steady.findings
    trials = score(steady.scenario, steady.evidence).tables["trials"]
    assert (trials.rate == trials.rate.iloc[-1]).sum() == 2  # it was confirmed
    last = len(asked) - int(trials.queries.iloc[-1])

    def latency(call: int, batch: object) -> float:
        return SERVICE if call < last else 2.5 * SERVICE

    found = measure(search(6 * SERVICE, seconds=4.0, turns=12), latency)
    assert "search-contradicts-itself" in found.findings
    assert 0 < found.rows["highest-rate", ""].value < steady.rows["highest-rate", ""].value


def test_brackets() -> None:
    def tried(*rates: tuple[float, bool]) -> Bracket:
        return Bracket.of([Trial(rate, 1000, 0 if passed else 9, 5) for rate, passed in rates])

    assert tried((10, True)).next_rate() == 20
    assert tried((10, False)).next_rate() == 5
    assert tried((10, True), (20, False)).next_rate() == 15
    assert tried((10, True), (20, False)) == (10, 20)
    assert tried((30, True), (20, False), (10, True)) == (10, 20)
    assert tried((99, True), (100, False)).narrow
    assert not tried((90, True), (100, False)).narrow
    assert not tried((90, True)).narrow
    assert not Trial(1.0, 10, 0, -1).passed  # too few queries to tell
