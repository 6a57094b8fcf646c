"""The scenarios: one query after the other, batches of growing size, and arrivals at random."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Need, Timed, TimedContext
from crucibench.contracts.statistic import Number
from crucibench_suites.throughput.metrics import OFFLINE, PERCENTILES, SEARCH, SERVER, STREAM

if TYPE_CHECKING:
    import pandas as pd

    from crucibench_suites.throughput.clock import Clock


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
        from crucibench_suites.throughput.clock import SystemClock

        return self.measure(context, SystemClock())

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
        from crucibench_suites.throughput.measuring import TimeBudget, stream_rounds

        return stream_rounds(self.samples, TimeBudget(self.seconds, self.turns), context, clock)

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency and throughput as numbers of rounds."""
        from crucibench_suites.throughput.numbers import stream_numbers

        return stream_numbers(evidence, self.samples)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what has no interval."""
        from crucibench_suites.throughput.scoring import stream_rows

        return Scored(stream_rows(evidence))

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots."""
        from crucibench_suites.throughput.scoring import stream_tables

        return stream_tables(evidence)


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
        from crucibench_suites.throughput.measuring import TimeBudget, offline_rounds

        return offline_rounds(self.sizes, TimeBudget(self.seconds, self.turns), context, clock)

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns throughput by batch size as numbers of rounds."""
        from crucibench_suites.throughput.numbers import offline_numbers

        return offline_numbers(evidence, self.sizes)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what has no interval."""
        from crucibench_suites.throughput.scoring import offline_rows

        return Scored(offline_rows(evidence, self.sizes))

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots."""
        from crucibench_suites.throughput.scoring import offline_tables

        return offline_tables(evidence, rows)


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
        from crucibench_suites.throughput.measuring import TimeBudget, server_rounds

        return server_rounds(self.loads, TimeBudget(self.seconds, self.turns), context, clock)

    def numbers(self, evidence: Evidence) -> list[Number]:
        """Returns latency by load as numbers of rounds."""
        from crucibench_suites.throughput.numbers import server_numbers

        return server_numbers(evidence, self.loads)

    def score(self, evidence: Evidence) -> Scored:
        """Computes what has no interval."""
        from crucibench_suites.throughput.scoring import server_rows

        return Scored(server_rows(evidence, self.loads))

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> dict[str, pd.DataFrame]:
        """Returns the data behind the plots."""
        from crucibench_suites.throughput.scoring import server_tables

        return server_tables(evidence, self.loads)


@dataclass(frozen=True, kw_only=True)
class RateSearch(Timing):
    """Single samples that arrive at random: how many a second the model bears.

    Attributes:
        bound: seconds that latency may take.
        percentile: whose latency that is, e.g. ``p99``.
    """

    bound: float
    percentile: str = "p99"

    metrics: ClassVar[tuple[MetricInfo, ...]] = SEARCH
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "open-search", "warm-up", "machine",
    )  # fmt: skip

    @property
    def share(self) -> float:
        """The share of queries that keep the bound."""
        return PERCENTILES[self.percentile]

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        from crucibench_suites.throughput.measuring import TimeBudget
        from crucibench_suites.throughput.searching import search_rounds

        budget = TimeBudget(self.seconds, self.turns)
        return search_rounds(self.bound, self.share, budget, context, clock)

    def score(self, evidence: Evidence) -> Scored:
        """Computes the highest rate that passed, and the lowest that did not."""
        from crucibench_suites.throughput.searching import score_search

        return score_search(evidence, self.bound, self.share)
