"""The device's own clock beside the wall's: by a model that says it, and by torch's events."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.util import devices
from crucibench_suites.throughput.scenarios import Offline, Server, Stream

from .conftest import Measure, Scripted, ScriptedClock

STREAM = Stream(name="single-stream", seconds=0.4, turns=4)
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
    for scenario, point, batch in ((STREAM, "", 1), (OFFLINE, "knee", 8), (SERVER, None, 1)):
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
    for scenario, point in ((STREAM, ""), (OFFLINE, "knee")):
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
