"""Two regimes: right after a rest, and after batches without a pause for a while."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from crucibench.contracts.evidence import Evidence, Findings, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import TimedContext
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

    def score(self, evidence: Evidence) -> Scored:
        """Computes latency and throughput of both regimes, and their ratio."""
        from crucibench_suites.throughput.readings import Readings
        from crucibench_suites.throughput.scoring import latency_rows

        readings, level = Readings(evidence.own.records), evidence.options.level
        rows = [_ratio(readings, level)]
        for point in self.points:
            rows += latency_rows(readings.queries(point), level, point, names=("p50",))
            rows.append(_throughput(readings, point, self.samples, level))
        windows = readings.fact("window").reshape(-1, WINDOWS)
        table = pd.DataFrame(
            {
                "seconds": (np.arange(WINDOWS) + 0.5) * self.seconds / WINDOWS,
                "latency_p50_ms": 1e3 * np.median(windows, axis=0),
            }
        )
        return Scored(rows, {"stretch": table})

    def audit(self, evidence: Evidence) -> Findings:
        """Says whether the model keeps up, and how far the times can be trusted."""
        from crucibench_suites.throughput.audits import audit_sustained

        return audit_sustained(evidence, self.points)


def _ratio(readings: Readings, level: float) -> Row:
    ratios = readings.queries(LATE).medians / readings.queries(BURST).medians
    interval = student_t(np.log(ratios), level)
    return Row(
        metric="sustained-ratio", value=math.exp(float(np.log(ratios).mean())),
        lower=math.exp(interval.lower), upper=math.exp(interval.upper), level=level,
        method="student-t of logarithms over stretches", n=len(ratios), point=LATE,
    )  # fmt: skip


def _throughput(readings: Readings, point: str, samples: int, level: float) -> Row:
    from crucibench_suites.throughput.scoring import over_rounds

    stretches = len(readings.queries(point).counts)
    answered, spans = (
        readings.fact(name, point).reshape(stretches, -1).sum(axis=1)
        for name in ("answered", "span")
    )
    return over_rounds(
        "throughput", samples * float(answered.sum() / spans.sum()), samples * answered / spans,
        n=int(answered.sum()), level=level, point=point,
    )  # fmt: skip
