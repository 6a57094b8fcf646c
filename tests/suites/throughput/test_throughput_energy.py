"""Energy by NVML's counter, on a device that is made up."""

from __future__ import annotations

import importlib.machinery
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from crucibench_suites.throughput import device
from crucibench_suites.throughput.regimes import Sustained
from crucibench_suites.throughput.scenarios import Offline, Server, Stream

from .conftest import Measure, Scripted, ScriptedClock

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


def offline(seconds: float) -> Offline:
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
    found = measure(offline(12.0), 4e-3, clock=clock, adapter=OnCuda)
    row = found.rows["energy-per-sample", "knee"]
    # Eight samples in 4 ms at 250 W more than at rest.
    assert row.value == pytest.approx((BUSY - IDLE) * 4e-3 / 8, rel=0.01)
    found = measure(offline(4.0), 4e-3, clock=clock, adapter=OnCuda)
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
    for scenario, points in ((offline(1.0), 2), (sustained, 2), (stream, 1), (server, 1)):
        nvml.reasons = 0x1
        assert measure(scenario, 4e-3, clock=clock, adapter=OnCuda).findings == {}
        nvml.reasons = 0x40
        found = measure(scenario, 4e-3, clock=clock, adapter=OnCuda)
        told = [one for one in scenario.audit(found.evidence) if one.code == "throttled"]
        assert len(told) == points
        assert "its clock was down to 1410 MHz" in told[0].message


def test_others_on_the_device_are_told(nvml: Nvml, clock: ScriptedClock, measure: Measure) -> None:
    for scenario in (offline(1.0), Sustained(seconds=1.0, turns=2, samples=8)):
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
