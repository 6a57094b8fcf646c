"""The scenarios: one query after the other, batches of growing size, and arrivals at random."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Need, Timed, TimedContext
from crucibench.contracts.statistic import Number
from crucibench.util.memory import free_memory, is_out_of_memory
from crucibench_suites.throughput.bench import POOL, Bench, typical
from crucibench_suites.throughput.clock import Clock, SystemClock, poisson_arrivals
from crucibench_suites.throughput.device import ceiling, count_flops
from crucibench_suites.throughput.metrics import OFFLINE, SERVER, STREAM
from crucibench_suites.throughput.records import WARM_UP, Readings, batch_point, load_point
from crucibench_suites.throughput.scoring import (
    MIB,
    by_objects,
    by_round,
    cost_rows,
    device_latency,
    distribution,
    early_stopping_rows,
    floor_row,
    knee_of,
    latencies,
    mean_latency,
    memory_row,
    noise_row,
    rate_numbers,
    throughput,
    warm_up_rows,
    why_not_timed,
)  # fmt: skip

if TYPE_CHECKING:
    from crucibench.contracts.batch import Batch

MOST_QUERIES = 50_000
"""In a round: enough for every percentile, and few enough to keep."""

_CACHE_SHARE = 0.25
"""Of a round's time, for asking twice."""


@dataclass(frozen=True, kw_only=True)
class Timing(Timed):
    """What the scenarios share.

    Attributes:
        seconds: how long each point is timed, over all rounds.
        turns: the number of rounds.
    """

    suite: str = "throughput"
    limit: int | None = 256
    needs: tuple[Need, ...] = (Need(alias="clean", cell="pass/test"),)
    seconds: float
    turns: int

    version: ClassVar[int] = 2
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.ANY_INPUT})

    def rounds(self, context: TimedContext) -> Iterator[Columns]:
        """Times the model with the clocks of this machine."""
        return self.measure(context, SystemClock())

    @property
    def share(self) -> float:
        """The seconds of one round of a point."""
        return self.seconds / self.turns

    @abstractmethod
    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        """Yields the records of one round at a time."""


@dataclass(frozen=True, kw_only=True)
class Stream(Timing):
    """One query after the other: how long a single answer takes.

    Attributes:
        samples: in a query; 1 is a single stream, 8 LoadGen's multi-stream.
    """

    samples: int = 1

    metrics: ClassVar[tuple[MetricInfo, ...]] = STREAM
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "cached-answers", "unfinished-work", "warm-up", "clock", "noisy-rounds",
        "drift-of-times", "machine",
    )  # fmt: skip

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        bench = Bench(context, clock)
        queries = bench.queries(self.samples)
        bench.warm_up("", queries, self.seconds)
        for turn in range(self.turns):
            bench.settle(queries, self.share)
            timed = bench.block(
                "",
                partial(bench.closed, queries, seconds=self.share, most=MOST_QUERIES, turn=turn),
            )
            bench.twice(queries, typical(timed), _CACHE_SHARE * self.share, f"fresh/{turn}")
            bench.answers("", queries, timed)
            if turn == self.turns - 1:
                bench.idle()
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency and throughput as numbers of rounds."""
        queries = Readings.of(evidence).queries()
        targets = evidence.own.samples.targets
        return [
            *latencies(queries), device_latency(queries), mean_latency(queries),
            throughput(queries, self.samples),
            *(by_objects(queries, targets, POOL) if self._finds_objects(evidence) else ()),
        ]  # fmt: skip

    def _finds_objects(self, evidence: Evidence) -> bool:
        places = any(field.pixels for field in evidence.task.definition.fields)
        return places and self.samples == 1 and len(evidence.own.samples) > 0

    def score(self, evidence: Evidence) -> Scored:
        """Computes what has no interval."""
        readings = Readings.of(evidence)
        queries, level = readings.queries(), evidence.options.level
        return Scored(
            [
                *early_stopping_rows(queries), noise_row(queries), floor_row(queries, level),
                *warm_up_rows(readings.queries("", WARM_UP)),
            ]
        )  # fmt: skip

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots."""
        queries = Readings.of(evidence).queries()
        return {"distribution": distribution(queries), "rounds": by_round(queries)}


@dataclass(frozen=True, kw_only=True)
class Offline(Timing):
    """All samples at hand at once: how many a second, by batch size.

    Attributes:
        sizes: of the batches, ascending.
    """

    sizes: tuple[int, ...] = (1,)

    metrics: ClassVar[tuple[MetricInfo, ...]] = OFFLINE
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "warm-up", "clock", "noisy-rounds",
        "drift-of-times", "machine",
    )  # fmt: skip

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        """Yields rounds of batches of each size in turn.

        A size at which memory runs out, or one batch would take half of a point's time, ends the
        sweep.
        """
        bench = Bench(context, clock)
        pools: dict[int, list[Batch]] = {}
        for size in self.sizes:
            point = batch_point(size)
            try:
                pools[size] = bench.queries(size)
                late = bench.warm_up(point, pools[size], self.seconds)
            except Exception as error:
                if size == self.sizes[0] or not is_out_of_memory(error):
                    raise
                pools.pop(size, None)
                free_memory()
                bench.tape.facts(point, {"out-of-memory": 1.0})
                break
            if late > self.seconds / 2 and size != self.sizes[-1]:
                break
        bench.tape.facts("", count_flops(context.adapter, pools[self.sizes[0]][0]))
        bench.tape.facts("", ceiling(context.adapter, clock))
        bench.rest()
        for turn in range(self.turns):
            for size, queries in pools.items():
                bench.settle(queries, self.share)
                timed = bench.block(
                    batch_point(size),
                    partial(
                        bench.closed, queries, seconds=self.share, most=MOST_QUERIES, turn=turn
                    ),
                )
                bench.answers(batch_point(size), queries, timed)
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns throughput by batch size as numbers of rounds."""
        readings = Readings.of(evidence)
        numbers = []
        for size in self.sizes:
            point = batch_point(size)
            queries = readings.queries(point)
            if not len(queries):
                reason = why_not_timed(readings, point)
                numbers.append(Number(metric="throughput", point=point, undefined=reason, n=0))
                continue
            numbers.append(throughput(queries, size, point))
            numbers += latencies(queries, point, names=("p50",))
        knee = knee_of(readings, self.sizes)
        queries = readings.queries(batch_point(knee))
        return [
            *numbers, device_latency(queries, "knee"), throughput(queries, knee, "knee"),
            *rate_numbers(evidence, readings, knee),
        ]  # fmt: skip

    def score(self, evidence: Evidence) -> Scored:
        """Computes what has no interval."""
        readings = Readings.of(evidence)
        timed = [(size, queries) for size in self.sizes
                 if len(queries := readings.queries(batch_point(size)))]  # fmt: skip
        rows: list[Row] = []
        for size, queries in timed:
            point = batch_point(size)
            rows += [noise_row(queries, point), memory_row(readings, point)]
            if len(reserved := readings.fact("device-reserved", point)):
                rows.append(
                    Row(
                        metric="reserved-memory", value=float(reserved.max()) / MIB,
                        n=len(reserved), reason="it is a peak", point=point,
                    )
                )  # fmt: skip
        knee = knee_of(readings, self.sizes)
        return Scored([*rows, *cost_rows(evidence, readings, knee, len(timed))])

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots."""
        readings = Readings.of(evidence)
        found = {(row.metric, row.point): row for row in rows if row.n}
        points = [
            point
            for metric, point in found
            if metric == "throughput" and point.startswith("batch=")
        ]
        fast, slow = (
            [found[metric, point] for point in points] for metric in ("throughput", "latency-p50")
        )
        table = pd.DataFrame(
            {
                "batch": [int(point.partition("=")[2]) for point in points],
                "throughput": [row.value for row in fast],
                "lower": [row.lower for row in fast],
                "upper": [row.upper for row in fast],
                "latency_p50_ms": [row.value for row in slow],
                "working_memory_mib": [memory_row(readings, point).value for point in points],
            }
        )
        return {"batches": table}


@dataclass(frozen=True, kw_only=True)
class Server(Timing):
    """Single samples that arrive at random: how long each waits for its answer, queueing included.

    Attributes:
        loads: arrival rates as shares of what the model serves one after the other, in (0, 1).
    """

    loads: tuple[float, ...] = (0.5,)

    metrics: ClassVar[tuple[MetricInfo, ...]] = SERVER
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "overloaded", "warm-up", "clock", "machine",
    )  # fmt: skip

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        """Yields rounds of Poisson arrivals at each load in turn.

        All models get the same exponential waits, scaled to their own rate.
        """
        bench = Bench(context, clock)
        queries = bench.queries(1)
        bench.warm_up("", queries, self.seconds)
        alone = bench.closed(queries, seconds=self.share, most=MOST_QUERIES)
        service = alone.span / len(alone.ended)
        for turn in range(self.turns):
            for load in self.loads:
                point = load_point(load)
                rate = load / service
                count = int(np.clip(rate * self.share, 1, MOST_QUERIES))
                gaps = context.draws.uniform([f"{turn}/{load:g}"], "arrivals", (count,))[0]
                bench.settle(queries, self.share)
                timed = bench.block(
                    point, partial(bench.opened, queries, poisson_arrivals(gaps, rate), turn)
                )
                bench.tape.facts(point, {"rate": rate, "service": service})
                bench.answers(point, queries, timed)
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency by load as numbers of rounds."""
        readings = Readings.of(evidence)
        numbers = []
        for load in self.loads:
            point = load_point(load)
            queries = readings.queries(point)
            numbers += [*latencies(queries, point), mean_latency(queries, point)]
        return numbers

    def score(self, evidence: Evidence) -> Scored:
        """Computes what has no interval."""
        readings = Readings.of(evidence)
        rows: list[Row] = []
        for load in self.loads:
            point = load_point(load)
            queries = readings.queries(point)
            rows.append(
                Row(
                    metric="arrival-rate", value=float(readings.fact("rate", point)[0]),
                    n=len(queries), point=point, reason="it was set, not measured",
                )
            )  # fmt: skip
            rows.append(noise_row(queries, point))
        return Scored(rows)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots."""
        readings = Readings.of(evidence)
        curves = []
        for load in self.loads:
            curve = distribution(readings.queries(load_point(load)))
            curve.insert(0, "load", f"{load:g}")
            curves.append(curve)
        return {"distribution": pd.concat(curves, ignore_index=True)}
