"""MLPerf's LoadGen as an oracle: its counts, and its figures for the same scripted model."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.stats import early_stopping_rank, fixed_queries, minimum_queries, quantile
from crucibench_suites.throughput.clock import SystemClock, closed_loop

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
    assert [fixed_queries(share) for share in (0.9, 0.99)] == [23_886, 262_742]


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
            assert quantile(seconds[undisturbed], share) == pytest.approx(
                quantile(truth[undisturbed], share), rel=0.02
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
