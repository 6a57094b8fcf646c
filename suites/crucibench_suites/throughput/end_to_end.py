"""With and without loading and preprocessing: the same queries, timed from three places on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import TimedContext
from crucibench.contracts.statistic import Number
from crucibench.stats import student_t
from crucibench.util.errors import InputError
from crucibench_suites.throughput.metrics import END_TO_END
from crucibench_suites.throughput.scenarios import Timing

if TYPE_CHECKING:
    from crucibench.contracts.adapter import Adapter
    from crucibench.contracts.batch import Batch
    from crucibench_suites.throughput.clock import Clock
    from crucibench_suites.throughput.readings import Readings

SOURCE, SAMPLE, ENCODED = STARTS = ("source", "sample", "encoded")
"""Where the clock starts: at what is stored, at the sample in memory, at what the model is fed."""

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
    points: tuple[str, ...] = tuple(point_of(start, size) for size in SIZES for start in STARTS)

    metrics: ClassVar[tuple[MetricInfo, ...]] = END_TO_END
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "warm-up", "clock", "noisy-rounds", "drift-of-times", "machine",
    )  # fmt: skip

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        from crucibench_suites.throughput.bench import Bench
        from crucibench_suites.throughput.measuring import MOST_QUERIES

        bench = Bench(context, clock)
        share = self.seconds / self.turns
        pools: dict[str, tuple[Sequence[Batch], _Way]] = {}
        for size in SIZES:
            batches = bench.queries(size)
            for start, way in _ways(context, batches, size).items():
                pools[point_of(start, size)] = batches, way
        for point, (_, way) in pools.items():
            bench.warm_up(point, way.asked, self.seconds, way.ask)
        for turn in range(self.turns):
            for point, (queries, way) in pools.items():
                bench.settle(way.asked, share, way.ask)
                loop = partial(bench.closed, way.asked, turn=turn, ask=way.ask)
                timed = bench.block(point, partial(loop, seconds=share, most=MOST_QUERIES))
                bench.answers(point, queries, timed)
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency and throughput from each place on as numbers of rounds."""
        from crucibench_suites.throughput.numbers import end_to_end_numbers

        return end_to_end_numbers(
            evidence, {point_of(start, size): size for size in SIZES for start in STARTS}
        )

    def score(self, evidence: Evidence) -> Scored:
        """Computes how much slower each place is than prepared samples."""
        from crucibench_suites.throughput.readings import Readings

        readings = Readings.of(evidence)
        rows = [row for size in SIZES for row in _ratios(readings, size, evidence.options.level)]
        return Scored(rows)

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns what lies inside the time of each place."""
        from crucibench_suites.throughput.readings import Readings

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
    return ways if encoded is None else {**ways, ENCODED: _Way(encoded, adapter.timed_encoded)}


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


def _ratios(readings: Readings, size: int, level: float) -> list[Row]:
    rows: list[Row] = []
    prepared = readings.queries(point_of(SAMPLE, size)).medians
    for start in STARTS:
        point = point_of(start, size)
        queries = readings.queries(point)
        if len(queries):
            rows.append(_ratio(queries.medians / prepared, level, point, start))
            continue
        reason = "torch can't look into the model: its preprocessing is a part of it"
        rows += [
            Row(metric=info.id, value=None, n=0, reason=reason, point=point) for info in END_TO_END
        ]
    return rows


def _ratio(ratios: Any, level: float, point: str, start: str) -> Row:
    if start == SAMPLE or len(ratios) < 2:
        value = float(np.exp(np.log(ratios).mean()))
        reason = "it is what the others are compared with" if start == SAMPLE else "one round"
        return Row(metric="prepared-ratio", value=value, n=len(ratios), reason=reason, point=point)
    interval = student_t(np.log(ratios), level)
    return Row(
        metric="prepared-ratio", value=float(np.exp(np.log(ratios).mean())),
        lower=math.exp(interval.lower), upper=math.exp(interval.upper), level=level,
        method="student-t of logarithms over rounds", n=len(ratios), point=point,
    )  # fmt: skip


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
