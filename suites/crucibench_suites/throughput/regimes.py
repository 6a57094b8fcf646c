"""Cold starts, load without a pause, and the same queries timed from three places on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import TimedContext
from crucibench.contracts.statistic import Number
from crucibench.util.errors import InputError
from crucibench_suites.throughput.bench import Bench, read_outputs
from crucibench_suites.throughput.clock import Clock
from crucibench_suites.throughput.metrics import COLD, END_TO_END, SUSTAINED
from crucibench_suites.throughput.records import Readings, Tape
from crucibench_suites.throughput.scenarios import MOST_QUERIES, Timing
from crucibench_suites.throughput.scoring import (
    MIB,
    device_latency,
    latencies,
    mean_latency,
    ratio_of_rounds,
    ratio_row,
    throughput,
)

if TYPE_CHECKING:
    from crucibench.contracts.adapter import Adapter
    from crucibench.contracts.batch import Batch

LATER = 10
"""Calls after the first: their median says how much longer the first takes."""

_PARTS = {
    "process-start": "process", "model-load": "load", "model-prepare": "prepare",
    "cold-call": "first", "later-call": "later",
}  # fmt: skip
"""Metric to fact."""


@dataclass(frozen=True, kw_only=True)
class ColdStart(Timing):
    """The model opened and asked in a new process, once a round."""

    name: str = "cold-start"
    seconds: float = 0.0

    metrics: ClassVar[tuple[MetricInfo, ...]] = COLD
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "unsteady-starts",
    )  # fmt: skip

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        tape = Tape(clock)
        if context.start is None:
            tape.facts("", {"live": 1.0})
            yield tape.columns()
            return
        query = context.load(1)
        for _ in range(self.turns):
            found = context.start(query, 1 + LATER)
            first, *later = found.calls
            tape.facts(
                "",
                {
                    "process": found.process, "load": found.load, "prepare": found.prepare,
                    "first": first, "later": float(np.median(later)),
                    "memory": None if found.memory is None else float(found.memory),
                },
            )  # fmt: skip
            if found.answer is not None:
                tape.answers("", query.ids, *read_outputs(found.answer, context.adapter.task))
            yield tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns each part of a start, and their sum, as numbers of processes."""
        readings = Readings.of(evidence)
        if len(readings.fact("live")):
            return []
        parts = {metric: 1e3 * readings.fact(fact) for metric, fact in _PARTS.items()}
        whole = np.asarray(sum(parts[metric] for metric in list(_PARTS)[:4]))
        return [
            ratio_of_rounds(metric, values, np.ones(len(values)), n=len(values), rounds="processes")
            for metric, values in {"cold-start": whole, **parts}.items()
        ]

    def score(self, evidence: Evidence) -> Scored:
        """Computes the peak of memory."""
        readings = Readings.of(evidence)
        if len(readings.fact("live")):
            reason = "the run has live objects, which no other process can open"
            return Scored([Row(metric=info.id, value=None, n=0, reason=reason) for info in COLD])
        return Scored([_memory(readings.fact("memory") / MIB)])


def _memory(peaks: NDArray[np.float64]) -> Row:
    """Returns the highest of the processes' peaks, in MiB, shape (processes,)."""
    if not len(peaks):
        reason = "this system does not tell how much memory a process uses"
        return Row(metric="process-memory", value=None, n=0, reason=reason)
    return Row(
        metric="process-memory", value=float(peaks.max()), n=len(peaks),
        method="peak resident memory", reason="it is a peak",
    )  # fmt: skip


BURST, BETWEEN, LATE = "burst", "between", "sustained"

WINDOWS = 20
"""Of a stretch."""

_BURST, _LATE = 2, 10
"""How many windows are the burst, and from which on the load counts as sustained."""

_MOST = 2500
"""Queries of a window that are noted; asking goes on."""

_REST = 0.25
"""Before a stretch, as a share of it."""


@dataclass(frozen=True, kw_only=True)
class Sustained(Timing):
    """Batches without a pause: does the model keep up what it does after a rest?

    A round is one stretch of `seconds`, after a rest: what becomes hot or grows shows in it.

    Attributes:
        samples: in a batch.
    """

    name: str = LATE
    points: tuple[str, ...] = (BURST, LATE)
    samples: int

    metrics: ClassVar[tuple[MetricInfo, ...]] = SUSTAINED
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "slower-when-sustained", "drift-of-times", "warm-up", "clock", "machine",
    )  # fmt: skip

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        bench = Bench(context, clock)
        queries = bench.queries(self.samples)
        bench.warm_up("", queries, self.seconds)
        bench.rest()
        window_seconds = self.seconds / WINDOWS
        for turn in range(self.turns):
            clock.until(clock.now() + round(_REST * self.seconds * 1e9))
            loop = partial(bench.closed, queries, turn=turn)
            for window in range(WINDOWS):
                point = BURST if window < _BURST else LATE if window >= _LATE else BETWEEN
                end = clock.now() + round(window_seconds * 1e9)
                timed = bench.block(point, partial(loop, seconds=window_seconds, most=_MOST))
                bench.tape.facts(point, {"answered": float(len(timed.ended))})
                bench.tape.facts("", {"window": float(np.median(timed.seconds))})
                if (left := (end - clock.now()) * 1e-9) > 0:
                    loop(seconds=left, most=10**9)
                if window in {0, WINDOWS - 1}:
                    bench.answers(point, queries, timed)
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency and throughput of both regimes as numbers of rounds."""
        readings = Readings.of(evidence)
        numbers: list[Number] = []
        for point in self.points:
            numbers += latencies(readings.queries(point), point, names=("p50",))
            numbers.append(_throughput(readings, point, self.samples))
        return numbers

    def score(self, evidence: Evidence) -> Scored:
        """Computes the ratio of both regimes."""
        readings = Readings.of(evidence)
        ratios = readings.queries(LATE).medians / readings.queries(BURST).medians
        level = evidence.options.level
        return Scored([ratio_row("sustained-ratio", ratios, level, LATE, "stretches")])

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the median latency along a stretch."""
        windows = Readings.of(evidence).fact("window").reshape(-1, WINDOWS)
        table = pd.DataFrame(
            {
                "seconds": (np.arange(WINDOWS) + 0.5) * self.seconds / WINDOWS,
                "latency_p50_ms": 1e3 * np.median(windows, axis=0),
            }
        )
        return {"stretch": table}


def _throughput(readings: Readings, point: str, samples: int) -> Number:
    stretches = len(readings.queries(point).counts)
    answered, spans = (
        readings.fact(name, point).reshape(stretches, -1).sum(axis=1)
        for name in ("answered", "span")
    )
    return ratio_of_rounds(
        "throughput", samples * answered, spans, point, n=int(answered.sum())
    )  # fmt: skip


SOURCE, SAMPLE, ENCODED = STARTS = ("source", "sample", "encoded")
"""Where the clock starts: at what is stored, at the sample in memory, at what the model is fed."""

RAW = "sample-to-raw"
"""From the sample in memory, and up to what a detector itself returns."""

SIZES = (1, 64)


def point_of(start: str, size: int) -> str:
    """Returns the point of a place to start from and a batch size."""
    return f"from={start},batch={size}"


class _Way(NamedTuple):
    """One place to start from: a pool of what is asked, and how."""

    asked: Sequence[Any]
    ask: Callable[[Any], object]


@dataclass(frozen=True, kw_only=True)
class EndToEnd(Timing):
    """What reading, decoding, preprocessing and copying add to the model's own time."""

    name: str = "end-to-end"
    starts: tuple[str, ...] = STARTS
    points: tuple[str, ...] = tuple(point_of(start, size) for size in SIZES for start in STARTS)

    metrics: ClassVar[tuple[MetricInfo, ...]] = END_TO_END
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "warm-up", "clock", "noisy-rounds", "drift-of-times", "machine",
    )  # fmt: skip

    def of_detectors(self) -> EndToEnd:
        """Returns the same with the time up to what a detector itself returns."""
        starts = (*STARTS, RAW)
        points = tuple(point_of(start, size) for size in SIZES for start in starts)
        return replace(self, starts=starts, points=points)

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        bench = Bench(context, clock)
        pools: dict[str, tuple[Sequence[Batch], _Way]] = {}
        for size in SIZES:
            batches = bench.queries(size)
            for start, way in _ways(context, batches, size).items():
                if start in self.starts:
                    pools[point_of(start, size)] = batches, way
        for point, (_, way) in pools.items():
            bench.warm_up(point, way.asked, self.seconds, way.ask)
        for turn in range(self.turns):
            for point, (queries, way) in pools.items():
                bench.settle(way.asked, self.share, way.ask)
                loop = partial(bench.closed, way.asked, turn=turn, ask=way.ask)
                timed = bench.block(point, partial(loop, seconds=self.share, most=MOST_QUERIES))
                if way.ask != context.adapter.timed_raw:  # of which nobody can tell what it says
                    bench.answers(point, queries, timed)
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency and throughput from each place on as numbers of rounds."""
        readings = Readings.of(evidence)
        numbers: list[Number] = []
        for size in SIZES:
            for point in (point_of(start, size) for start in self.starts):
                queries = readings.queries(point)
                if len(queries):
                    numbers += [
                        *latencies(queries, point), mean_latency(queries, point),
                        throughput(queries, size, point), device_latency(queries, point),
                    ]  # fmt: skip
        return numbers

    def score(self, evidence: Evidence) -> Scored:
        """Computes how much slower each place is than prepared samples."""
        readings = Readings.of(evidence)
        level = evidence.options.level
        rows = [row for size in SIZES for row in _ratios(readings, size, level, self.starts)]
        return Scored(rows)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns what lies inside the time of each place."""
        return {"inside": _inside(evidence, Readings.of(evidence), rows)}


def _ways(context: TimedContext, queries: Sequence[Batch], size: int) -> dict[str, _Way]:
    adapter = context.adapter
    places = [range(first, first + size) for first in range(0, size * len(queries), size)]
    read, timed = context.read, adapter.timed
    ways = {
        SOURCE: _Way(places, lambda positions: timed(read(positions))),
        SAMPLE: _Way(queries, timed),
    }
    encoded = _encoded(adapter, queries)
    if encoded is not None:
        ways[ENCODED] = _Way(encoded, adapter.timed_encoded)
    with suppress(InputError):
        adapter.timed_raw(queries[0])
        ways[RAW] = _Way(queries, adapter.timed_raw)
    return ways


def _encoded(adapter: Adapter, queries: Sequence[Batch]) -> list[Any] | None:
    """Returns what the model is fed, on its device; None where that is not known."""
    if Capability.GRADIENTS not in adapter.capabilities:
        return None
    import torch

    try:
        with torch.inference_mode():
            found = [adapter.encode(query) for query in queries]
        adapter.timed_encoded(found[0])
    except InputError:
        return None
    return found


def _ratios(readings: Readings, size: int, level: float, starts: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    prepared = readings.queries(point_of(SAMPLE, size)).medians
    for start in starts:
        point = point_of(start, size)
        queries = readings.queries(point)
        if len(queries):
            rows.append(_ratio(queries.medians / prepared, level, point, start))
            continue
        what = "post-processing" if start == RAW else "preprocessing"
        reason = f"torch can't look into the model: its {what} is a part of it"
        rows += [
            Row(metric=info.id, value=None, n=0, reason=reason, point=point) for info in END_TO_END
        ]
    return rows


def _ratio(ratios: Any, level: float, point: str, start: str) -> Row:
    if start == SAMPLE or len(ratios) < 2:
        value = float(np.exp(np.log(ratios).mean()))
        reason = "it is what the others are compared with" if start == SAMPLE else "one round"
        return Row(metric="prepared-ratio", value=value, n=len(ratios), reason=reason, point=point)
    return ratio_row("prepared-ratio", ratios, level, point)


def _inside(evidence: Evidence, readings: Readings, rows: Sequence[Row]) -> pd.DataFrame:
    """Returns what lies within the time of each point."""
    found = {(row.metric, row.point): row.value for row in rows}
    if evidence.own.model.remote:
        copy = dict.fromkeys(STARTS, "over the network")
    elif readings.fact("on-cuda")[0]:
        copy = {SOURCE: "inside", SAMPLE: "inside", ENCODED: "outside"}
    else:
        copy = dict.fromkeys(STARTS, "there is none")
    lines = []
    for size in SIZES:
        for start in STARTS:
            point = point_of(start, size)
            lines.append(
                {
                    "from": start,
                    "batch": size,
                    "reading_and_decoding": "inside" if start == SOURCE else "outside",
                    "preprocessing": "outside" if start == ENCODED else "inside",
                    "copy_to_the_device": copy[start],
                    "latency_p50_ms": found.get(("latency-p50", point)),
                    "throughput": found.get(("throughput", point)),
                }
            )
    return pd.DataFrame(lines)
