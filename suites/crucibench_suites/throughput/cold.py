"""A cold start: what a process that has just been started takes to answer for the first time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import TimedContext
from crucibench.contracts.statistic import Number
from crucibench_suites.throughput.metrics import COLD
from crucibench_suites.throughput.scenarios import Timing

if TYPE_CHECKING:
    from crucibench_suites.throughput.clock import Clock

LATER = 10
"""Calls after the first: their median says how much longer the first takes."""

_PARTS = {
    "process-start": "process", "model-load": "load", "model-prepare": "prepare",
    "cold-call": "first", "later-call": "later",
}  # fmt: skip
"""Metric to fact."""

_MIB = 2.0**20


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
        from crucibench_suites.throughput.bench import read_outputs
        from crucibench_suites.throughput.tape import Tape

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
        from crucibench_suites.throughput.numbers import ratio_of_rounds
        from crucibench_suites.throughput.readings import Readings

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
        from crucibench_suites.throughput.readings import Readings

        readings = Readings.of(evidence)
        if len(readings.fact("live")):
            reason = "the run has live objects, which no other process can open"
            return Scored([Row(metric=info.id, value=None, n=0, reason=reason) for info in COLD])
        return Scored([_memory(readings.fact("memory") / _MIB)])


def _memory(peaks: NDArray[np.float64]) -> Row:
    """Returns the highest of the processes' peaks, in MiB, shape (processes,)."""
    if not len(peaks):
        reason = "this system does not tell how much memory a process uses"
        return Row(metric="process-memory", value=None, n=0, reason=reason)
    return Row(
        metric="process-memory", value=float(peaks.max()), n=len(peaks),
        method="peak resident memory", reason="it is a peak",
    )  # fmt: skip
