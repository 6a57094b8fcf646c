"""After a rest and sustained: models that slow down when hot, and steady ones."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crucibench.metrics.scoring import score
from crucibench_suites.throughput.regimes import Sustained

from .conftest import Measure, ScriptedClock

STRETCH = 2.0
SUSTAINED = Sustained(seconds=STRETCH, turns=5, samples=8)


class Hot(ScriptedClock):
    """Heats up by work and cools at rest: temperature from 0 to 1, with a time of 0.3 s."""

    heat = 0.0

    def until(self, instant: int) -> None:
        rest = max(0, instant - self.instant) * 1e-9
        self.heat *= math.exp(-rest / 0.1)
        super().until(instant)

    def work(self, seconds: float) -> None:
        self.heat += (1 - self.heat) * (1 - math.exp(-seconds / 0.3))
        super().work(seconds)


def test_a_steady_model_keeps_up(measure: Measure) -> None:
    found = measure(SUSTAINED, 1e-3)
    assert found.rows["sustained-ratio", "sustained"].value == pytest.approx(1, rel=1e-6)
    for point in ("burst", "sustained"):
        assert found.rows["latency-p50", point].value == pytest.approx(1, rel=1e-3)
        assert found.rows["throughput", point].value == pytest.approx(8000, rel=1e-3)
    assert found.findings == {}
    table = score(found.scenario, found.evidence).tables["stretch"]
    assert table.seconds.iloc[[0, -1]].tolist() == pytest.approx([0.05, 1.95])


@pytest.mark.parametrize("seed", range(3))
def test_jitter_is_no_slowdown(measure: Measure, seed: int) -> None:
    times = 1e-3 * (1 + np.random.default_rng(seed).gamma(2, 0.05, 100_000))
    assert measure(SUSTAINED, lambda call, batch: times[call]).findings == {}


def test_a_model_that_is_throttled_when_hot_is_told(measure: Measure) -> None:
    clock = Hot()
    found = measure(SUSTAINED, lambda call, batch: 1e-3 * (1 + 0.5 * clock.heat), clock=clock)
    assert set(found.findings) == {"slower-when-sustained"}
    ratio = found.rows["sustained-ratio", "sustained"]
    # Hot it takes 1.5 ms; the burst, a tenth of a stretch, begins at 1 ms.
    assert 1.15 < ratio.value < 1.5
    assert ratio.lower <= ratio.value <= ratio.upper
    assert found.rows["latency-p50", "sustained"].value == pytest.approx(1.5, rel=0.01)
    assert found.rows["throughput", "burst"].value > found.rows["throughput", "sustained"].value
    table = score(found.scenario, found.evidence).tables["stretch"]
    assert table.latency_p50_ms.iloc[0] < 1.3 < 1.49 < table.latency_p50_ms.iloc[-1]


def test_a_leak_that_no_rest_heals_is_told(measure: Measure) -> None:
    """Every call takes a little longer than the one before, whatever lies between."""
    found = measure(SUSTAINED, lambda call, batch: 1e-3 * (1 + 1e-4 * call)).findings
    assert "slower" in found["drift"].message
    assert found["drift"].evidence["change"] > 0.2


def test_a_quick_model_is_asked_on_though_few_queries_are_kept(measure: Measure) -> None:
    clock = ScriptedClock()
    short = Sustained(seconds=STRETCH, turns=2, samples=8)
    found = measure(short, 3e-5, clock=clock)
    # 20 windows of 2,500 at most, of 3,333 that fit in; the stretch lasts as long as it should.
    kept = found.evidence.own.records.array("phase") == "query"
    assert kept.sum() == 2 * 20 * 2500
    assert clock.instant * 1e-9 > 2 * STRETCH * 1.25
    assert found.rows["throughput", "sustained"].value == pytest.approx(8 / 3e-5, rel=0.01)
