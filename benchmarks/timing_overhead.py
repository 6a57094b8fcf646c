"""What timing a query costs, against a bare loop and MLPerf's LoadGen, and throughput against both.

Overhead: a model that does nothing, in a bare loop, in the suite's loops, and (with the extra
`loadgen`) in LoadGen's single stream. Throughput: a small matrix product in turns, bare and timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _report import load, publish, table

from crucibench_suites.throughput.clock import SystemClock
from crucibench_suites.throughput.loops import closed_loop, open_loop

Ask = Callable[[object], object]


def bare(ask: Ask, count: int) -> float:
    """Returns seconds a query."""
    begun = time.perf_counter()
    for _ in range(count):
        ask(None)
    return (time.perf_counter() - begun) / count


def closed(ask: Ask, count: int) -> float:
    begun = time.perf_counter()
    closed_loop(ask, [None] * 256, SystemClock(), seconds=1e6, most=count)
    return (time.perf_counter() - begun) / count


def opened(ask: Ask, count: int) -> float:
    """All queries are scheduled for the first instant: nobody waits for a schedule."""
    begun = time.perf_counter()
    open_loop(ask, [None] * 256, np.zeros(count, dtype=np.int64), SystemClock())
    return (time.perf_counter() - begun) / count


def loadgen(ask: Ask, count: int) -> float | None:
    """Returns seconds a query of LoadGen's single stream; None where it is not installed."""
    try:
        import mlperf_loadgen as lg
    except ImportError:
        return None

    def issue(samples: list[object]) -> None:
        for sample in samples:
            ask(None)
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    settings = lg.TestSettings()
    settings.scenario = lg.TestScenario.SingleStream
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = 0
    settings.min_query_count = settings.max_query_count = count
    system = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(256, 256, lambda _: None, lambda _: None)
    output = lg.LogOutputSettings()
    output.outdir = tempfile.mkdtemp()
    logs = lg.LogSettings()
    logs.log_output = output
    logs.enable_trace = False
    try:
        lg.StartTestWithLogSettings(system, library, settings, logs)
        return _logged(Path(output.outdir), count)
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(system)


def _logged(folder: Path, count: int) -> float:
    """Reads queries a second, as LoadGen says it with its own overhead."""
    for line in (folder / "mlperf_log_summary.txt").read_text().splitlines():
        if "QPS w/ loadgen overhead" in line:
            return 1.0 / float(line.split(":")[1])
    raise RuntimeError(f"LoadGen's summary of {count} queries names no rate")


def _compared(found: list[float], bare: list[float]) -> list[str]:
    """Returns microseconds a query, those beyond the bare loop's, and the ratio by rounds."""
    middle = statistics.median(found)
    ratio = statistics.median(b / a for a, b in zip(found, bare, strict=True))
    beyond = middle - statistics.median(bare)
    return [f"{1e6 * middle:.3f}", f"{1e6 * beyond:+.3f}", f"{ratio:.4f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    first, second = (rng.random((128, 128), dtype=np.float32) for _ in range(2))
    subjects: dict[str, tuple[Ask, int]] = {
        "nothing": (lambda query: None, arguments.queries),
        "a matrix product": (lambda query: first @ second, max(200, arguments.queries // 50)),
    }
    ways = {"bare loop": bare, "closed loop": closed, "open loop": opened, "LoadGen": loadgen}
    rows, summary = [], []
    for name, (ask, count) in subjects.items():
        taken: dict[str, list[float]] = {way: [] for way in ways}
        used: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(arguments.rounds):
            for way, run in ways.items():
                begun = time.process_time()
                seconds = run(ask, count)
                if seconds is not None:
                    taken[way].append(seconds)
                    used[way].append((time.process_time() - begun) / count)
        for way, found in taken.items():
            if not found:
                rows.append((name, way, *["not installed"] * 6))
                continue
            rows.append((name, way, *_compared(found, taken["bare loop"]),
                         *(["", "", ""] if way == "LoadGen"  # which prepares, and writes logs
                           else _compared(used[way], used["bare loop"]))))  # fmt: skip
        over = statistics.median(used["closed loop"]) - statistics.median(used["bare loop"])
        summary.append(
            f"{name}: the closed loop adds {1e6 * over:.2f} µs of processor time a query."
        )
    publish(
        "timing-overhead",
        "What timing costs",
        [
            f"Medians of {arguments.rounds} rounds in turns; {arguments.queries:,} queries a "
            "round. Budget: at most 10 µs a query, and throughput within 2 % of a bare loop. "
            f"{load()} Processor time leaves out what other processes took.",
            "",
            *table(["model", "loop", "µs a query", "beyond the bare loop, µs",
                    "throughput over the bare loop's", "processor µs a query", "beyond",
                    "throughput by processor time"], rows),
            "",
            " ".join(summary),
        ],
        "numpy",
    )  # fmt: skip


if __name__ == "__main__":
    main()
