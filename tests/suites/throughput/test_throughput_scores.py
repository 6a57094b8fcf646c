"""What the scenarios report of models whose latency is a known function."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.rows import Row
from crucibench.metrics.scoring import score
from crucibench.stats import quantile
from crucibench_suites.throughput.clock import SystemClock
from crucibench_suites.throughput.device import ceiling, count_flops
from crucibench_suites.throughput.scenarios import Offline, Server, Stream
from crucibench_suites.throughput.scoring import pooled_quantile

from .conftest import Measure, ScriptedClock

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
        assert found == quantile(repeated, share)
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
