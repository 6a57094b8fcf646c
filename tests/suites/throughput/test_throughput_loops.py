"""Loops, warm-up and clocks against scripted time."""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crucibench.contracts.batch import Batch
from crucibench.stats import early_stopping_rank, minimum_queries
from crucibench.util.draws import Draws
from crucibench_suites.throughput.bench import freshened
from crucibench_suites.throughput.clock import (
    SystemClock,
    closed_loop,
    grain,
    is_flat,
    open_loop,
    poisson_arrivals,
    warm_up,
)

from .conftest import ScriptedClock


def asker(clock: ScriptedClock, times: list[float] | float) -> Callable[[object], object]:
    calls = iter(times) if isinstance(times, list) else None

    def ask(query: object) -> object:
        clock.work(next(calls) if calls is not None else times)
        return query

    return ask


def test_a_closed_loop_times_each_query_and_keeps_the_latest_answers() -> None:
    clock = ScriptedClock(reading_ns=0)
    found = closed_loop(asker(clock, 0.01), ["a", "b", "c"], clock, seconds=0.055, most=1000)
    assert len(found.ended) == 6  # the one that is under way at the end is finished
    np.testing.assert_allclose(found.seconds, 0.01)
    assert found.span == pytest.approx(0.06)
    assert found.answers == ["a", None, None]
    later = [closed_loop(asker(clock, 0.01), ["a", "b", "c"], clock, seconds=1, most=9, turn=turn)
             for turn in (1, 2)]  # fmt: skip
    assert [one.answers for one in later] == [[None, None, "c"], [None, "b", None]]


def test_a_closed_loop_asks_at_least_once_and_at_most_so_often() -> None:
    clock = ScriptedClock()
    once = closed_loop(asker(clock, 5.0), ["a", "b"], clock, seconds=0.1, most=10)
    assert len(once.ended) == 1
    assert once.answers == ["a", None]
    assert len(closed_loop(asker(clock, 0.0), ["a"], clock, seconds=9, most=7).ended) == 7


def test_the_collector_rests_and_is_started_again() -> None:
    clock, seen = ScriptedClock(), []
    closed_loop(lambda query: seen.append(gc.isenabled()), ["a"], clock, seconds=0, most=1)
    assert seen == [False]
    assert gc.isenabled()

    def fails(query: object) -> object:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        closed_loop(fails, ["a"], clock, seconds=0, most=1)
    assert gc.isenabled()


def test_latency_counts_from_the_scheduled_instant() -> None:
    """One stall of a second makes all wait that arrive meanwhile: no coordinated omission."""
    clock = ScriptedClock(reading_ns=0)
    arrivals = np.arange(20) * 100_000_000
    times = [1.0, *[0.01] * 19]
    found = open_loop(asker(clock, times), ["a"], arrivals, clock)
    # Lindley's recursion.
    free, expected = 0.0, []
    for arrival, service in zip(arrivals * 1e-9, times, strict=True):
        free = max(free, arrival) + service
        expected.append(free - arrival)
    np.testing.assert_allclose(found.seconds, expected, rtol=1e-9)
    assert (found.seconds > 0.1).sum() == 10
    assert np.allclose(found.seconds - (found.started - found.issued) * 1e-9, times)


def test_arrivals_are_a_poisson_process() -> None:
    gaps = np.random.default_rng(0).uniform(size=50_000)
    arrivals = poisson_arrivals(gaps, 1000.0) * 1e-9
    waits = np.diff(arrivals)
    assert waits.mean() == pytest.approx(1e-3, rel=0.02)
    assert waits.std() == pytest.approx(1e-3, rel=0.02)
    per_window = np.histogram(arrivals, bins=np.arange(0, arrivals[-1], 0.01))[0]
    assert per_window.var() / per_window.mean() == pytest.approx(1.0, abs=0.06)
    # A slower model gets the same process, stretched.
    np.testing.assert_allclose(poisson_arrivals(gaps[:9], 10.0) / poisson_arrivals(gaps[:9], 20.0),
                               2.0, rtol=1e-6)  # fmt: skip


def test_warm_up_ends_once_times_no_longer_fall() -> None:
    clock = ScriptedClock(reading_ns=0)
    times = (1e-3 * (1 + 9 * np.exp(-np.arange(5000) / 30))).tolist()
    found = warm_up(lambda number: clock.work(times[number]), clock, least=0.0, seconds=60.0)
    assert found.flat
    # The later half begins where the fall that is left is small.
    assert 150 <= len(found) <= 600
    np.testing.assert_allclose(found.seconds, times[: len(found)], rtol=1e-5)


def test_warm_up_of_a_steady_model_is_short_and_lasts_its_least() -> None:
    clock = ScriptedClock(reading_ns=0)
    short = warm_up(lambda number: clock.work(1e-3), clock, least=0.0, seconds=60.0)
    assert (short.flat, len(short)) == (True, 5)
    longer = warm_up(lambda number: clock.work(1e-3), clock, least=0.1, seconds=60.0)
    assert longer.flat
    assert 100 <= len(longer) <= 140


def test_warm_up_that_does_not_end_is_cut_off_and_says_so() -> None:
    clock = ScriptedClock(reading_ns=0)
    falling = warm_up(lambda number: clock.work(1.0 / (1 + number)), clock, least=0, seconds=4.0)
    assert not falling.flat
    assert falling.seconds.sum() < 5.0
    counted = warm_up(
        lambda number: clock.work(1e-6 * 0.99**number), clock, least=0, seconds=9.0, most=300
    )
    assert (counted.flat, len(counted)) == (False, 300)
    slow = warm_up(lambda number: clock.work(10.0), clock, least=0, seconds=4.0)
    assert (slow.flat, len(slow)) == (False, 1)


@pytest.mark.parametrize("spread", [0.001, 0.03, 0.3])
def test_noise_without_a_trend_is_flat_mostly(spread: float) -> None:
    rng = np.random.default_rng(0)
    looks = [is_flat(1 + spread * rng.random(200)) for _ in range(100)]
    assert np.mean(looks) > 0.8


def test_a_plain_fall_is_not_flat_and_a_rise_is_for_the_audit_of_drift() -> None:
    ramp = np.linspace(2, 1, 100)
    assert not is_flat(ramp)
    assert is_flat(ramp[::-1])
    assert not is_flat(ramp[:2])


def test_the_grain_of_a_coarse_clock_is_found() -> None:
    clock = ScriptedClock(reading_ns=0)
    ticks = iter(range(10_000))
    clock.now = lambda: next(ticks) // 10 * 1_000_000  # type: ignore[method-assign]
    step, reading = grain(clock)
    assert step == pytest.approx(1e-3)
    assert reading == pytest.approx(1e-4, rel=0.05)


def test_the_clock_of_this_machine_moves_on() -> None:
    clock = SystemClock()
    begun = clock.now()
    clock.until(begun + 3_000_000)
    assert clock.now() >= begun + 3_000_000
    assert clock.cpu() > 0
    machine = clock.machine()
    assert machine is None or machine > 0


def test_fresh_inputs_resemble_and_differ() -> None:
    import torch

    draws = Draws(0, "t")
    ids = ("a", "b")
    images = torch.full((2, 1, 4, 4), 0.5)
    new = freshened(Batch(ids, images), draws, "1", 2).inputs
    assert not torch.equal(new, images)
    assert float((new - images).abs().max()) <= 2 / 255
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"n": rng.random(50), "word": ["x", "y"] * 25, "when": pd.to_datetime(np.arange(50))}
    )
    batch = Batch(tuple(map(str, range(50))), frame)
    rows = freshened(batch, draws, "2", 20).inputs
    assert len(rows) == 20
    assert (rows.dtypes == frame.dtypes).all()
    assert rows.columns is frame.columns  # what pandas has looked up in them stays known
    assert all(set(rows[name]) <= set(frame[name]) for name in frame)
    known = set(zip(frame["n"], frame["when"], strict=True))
    assert len(known & set(zip(rows["n"], rows["when"], strict=True))) <= 4
    sentences = ["one two three four five", ("s", "t u v w")]
    texts = freshened(Batch(ids, sentences), draws, "3", 2).inputs
    assert sorted(texts[0].split()) == ["five", "four", "one", "three", "two"]
    assert texts[0] != "one two three four five"
    assert texts[1][0] == "s"
    again = freshened(batch, draws, "4", 20).inputs
    assert not again.equals(rows)


# MLPerf's LoadGen as an oracle: its counts, and its figures for the same scripted model.

LEAST = {
    0.9: {0: 44, 1: 64, 5: 127, 10: 197, 100: 1246},
    0.95: {0: 90, 1: 130, 5: 259, 10: 398, 100: 2504},
    0.99: {0: 459, 1: 662, 5: 1307, 10: 2010, 100: 12571},
    0.999: {0: 4603, 1: 6636, 5: 13105, 10: 20140, 100: 125826},
}
"""LoadGen's early stopping: queries to make, by percentile and queries over the bound."""


def test_query_counts_are_those_of_the_rules() -> None:
    found = {
        share: {over: minimum_queries(over, share) for over in of_share}
        for share, of_share in LEAST.items()
    }
    assert found == LEAST


def test_loadgen_reports_the_same_of_the_same_model(tmp_path: Path) -> None:
    """Both time a model that knows itself how long it took, however busy the machine is."""
    loadgen = pytest.importorskip(
        "mlperf_loadgen", reason='LoadGen is not installed: pip install "crucibench[loadgen]"'
    )
    clock = SystemClock()
    took: list[int] = []

    def model(query: object) -> object:
        begun = clock.now()
        clock.until(begun + 6_000_000)
        took.append(clock.now() - begun)
        return query

    ours = closed_loop(model, list(range(64)), clock, seconds=60.0, most=100).seconds
    known = [np.array(took) * 1e-9]
    took.clear()
    theirs = by_loadgen(loadgen, model, tmp_path, 100)
    known.append(np.array(took) * 1e-9)
    for seconds, truth in zip((ours, theirs), known, strict=True):
        assert len(seconds) == len(truth) == 100
        # Whoever is interrupted between the model's reading of the clock and the loop's is longer.
        assert (seconds >= truth).all()
        undisturbed = seconds < 1.02 * truth
        assert undisturbed.mean() > 0.3
        for share in (0.5, 0.9):
            assert np.quantile(seconds[undisturbed], share) == pytest.approx(
                np.quantile(truth[undisturbed], share), rel=0.02
            )


def test_loadgen_chooses_the_same_query_as_its_estimate(tmp_path: Path) -> None:
    loadgen = pytest.importorskip(
        "mlperf_loadgen", reason='LoadGen is not installed: pip install "crucibench[loadgen]"'
    )
    seconds = by_loadgen(loadgen, lambda query: time.sleep(0.0005), tmp_path, 200)
    summary = (tmp_path / "mlperf_log_summary.txt").read_text()
    said = re.search(r"Early stopping 90.0th percentile estimate: (\d+)", summary)
    assert said is not None, summary
    rank = early_stopping_rank(len(seconds), 0.9)
    assert rank is not None
    assert np.sort(seconds)[rank] == pytest.approx(int(said[1]) * 1e-9, rel=1e-6)


def by_loadgen(loadgen: Any, model: Any, folder: Path, count: int) -> np.ndarray:
    """Returns the latencies of a single stream as LoadGen measures them, in s, shape (count,)."""
    folder.mkdir(exist_ok=True)

    def issue(samples: Any) -> None:
        for sample in samples:
            model(sample.index)
            response = loadgen.QuerySampleResponse(sample.id, 0, 0)
            loadgen.QuerySamplesComplete([response])

    settings = loadgen.TestSettings()
    settings.scenario = loadgen.TestScenario.SingleStream
    settings.mode = loadgen.TestMode.PerformanceOnly
    settings.single_stream_expected_latency_ns = 1_000_000
    settings.min_query_count = settings.max_query_count = count
    settings.min_duration_ms = 0
    logs, out = loadgen.LogSettings(), loadgen.LogOutputSettings()
    out.outdir, out.copy_summary_to_stdout = str(folder), False
    logs.log_output, logs.enable_trace = out, True
    sut = loadgen.ConstructSUT(issue, lambda: None)
    library = loadgen.ConstructQSL(64, 64, lambda samples: None, lambda samples: None)
    try:
        loadgen.StartTestWithLogSettings(sut, library, settings, logs, "audit.config")
    finally:
        loadgen.DestroyQSL(library)
        loadgen.DestroySUT(sut)
    return latencies(folder)


def latencies(folder: Path) -> np.ndarray:
    """Returns the latencies that LoadGen traced."""
    trace = (folder / "mlperf_log_trace.json").read_text()
    found = re.findall(r'"issue_start_ns":(\d+),"complete_ns":(\d+)', trace)
    return np.array([int(done) - int(begun) for begun, done in found]) * 1e-9
