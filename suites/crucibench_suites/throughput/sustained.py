"""Two regimes: right after a rest, and after batches without a pause for a while."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import TimedContext
from crucibench.contracts.statistic import Number
from crucibench.stats import student_t
from crucibench_suites.throughput.metrics import SUSTAINED
from crucibench_suites.throughput.scenarios import Timing

if TYPE_CHECKING:
    from crucibench_suites.throughput.clock import Clock
    from crucibench_suites.throughput.readings import Readings

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
        from crucibench_suites.throughput.bench import Bench

        bench = Bench(context, clock)
        queries = bench.queries(self.samples)
        bench.warm_up("", queries, self.seconds)
        bench.rest()
        share = self.seconds / WINDOWS
        for turn in range(self.turns):
            clock.until(clock.now() + round(_REST * self.seconds * 1e9))
            loop = partial(bench.closed, queries, turn=turn)
            for window in range(WINDOWS):
                point = BURST if window < _BURST else LATE if window >= _LATE else BETWEEN
                end = clock.now() + round(share * 1e9)
                timed = bench.block(point, partial(loop, seconds=share, most=_MOST))
                bench.tape.facts(point, {"answered": float(len(timed.ended))})
                bench.tape.facts("", {"window": float(np.median(timed.seconds))})
                if (left := (end - clock.now()) * 1e-9) > 0:
                    loop(seconds=left, most=10**9)
                if window in {0, WINDOWS - 1}:
                    bench.answers(point, queries, timed)
            yield bench.tape.columns()

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency and throughput of both regimes as numbers of rounds."""
        from crucibench_suites.throughput.numbers import latencies
        from crucibench_suites.throughput.readings import Readings

        readings = Readings.of(evidence)
        numbers: list[Number] = []
        for point in self.points:
            numbers += latencies(readings.queries(point), point, names=("p50",))
            numbers.append(_throughput(readings, point, self.samples))
        return numbers

    def score(self, evidence: Evidence) -> Scored:
        """Computes the ratio of both regimes."""
        from crucibench_suites.throughput.readings import Readings

        return Scored([_ratio(Readings.of(evidence), evidence.options.level)])

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the median latency along a stretch."""
        from crucibench_suites.throughput.readings import Readings

        windows = Readings.of(evidence).fact("window").reshape(-1, WINDOWS)
        table = pd.DataFrame(
            {
                "seconds": (np.arange(WINDOWS) + 0.5) * self.seconds / WINDOWS,
                "latency_p50_ms": 1e3 * np.median(windows, axis=0),
            }
        )
        return {"stretch": table}


def _ratio(readings: Readings, level: float) -> Row:
    ratios = readings.queries(LATE).medians / readings.queries(BURST).medians
    interval = student_t(np.log(ratios), level)
    return Row(
        metric="sustained-ratio", value=math.exp(float(np.log(ratios).mean())),
        lower=math.exp(interval.lower), upper=math.exp(interval.upper), level=level,
        method="student-t of logarithms over stretches", n=len(ratios), point=LATE,
    )  # fmt: skip


def _throughput(readings: Readings, point: str, samples: int) -> Number:
    from crucibench_suites.throughput.numbers import ratio_of_rounds

    stretches = len(readings.queries(point).counts)
    answered, spans = (
        readings.fact(name, point).reshape(stretches, -1).sum(axis=1)
        for name in ("answered", "span")
    )
    return ratio_of_rounds(
        "throughput", samples * answered, spans, point, n=int(answered.sum())
    )  # fmt: skip
