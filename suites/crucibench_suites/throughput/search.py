"""The highest rate of arrivals at which latency keeps a bound: trials, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import pandas as pd

from crucibench.contracts.evidence import Evidence, Scored
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import TimedContext
from crucibench.stats import allowed_over, minimum_queries
from crucibench_suites.throughput.bench import Bench
from crucibench_suites.throughput.clock import Clock, poisson_arrivals
from crucibench_suites.throughput.metrics import PERCENTILES, SEARCH
from crucibench_suites.throughput.records import Floats, Readings
from crucibench_suites.throughput.scenarios import MOST_QUERIES, Timing

NARROW = 0.02
"""The search ends once the rates that pass and fail are nearer than this."""

_LONGER = 10
"""A slow model's trial may last so many times as long as asked, for the queries that it needs."""

_FIRST = 0.5
"""Of the rate at which the model answers one query after the other."""


class Trial(NamedTuple):
    """One rate that was tried.

    Attributes:
        rate: queries a second.
        queries: how many arrived.
        over: how many took longer than the bound.
        allowed: how many might have, by LoadGen's early stopping; -1 if there were too few queries
            even if none did.
    """

    rate: float
    queries: int
    over: int
    allowed: int

    @property
    def passed(self) -> bool:
        """Whether the percentile keeps the bound, with 99 % confidence."""
        return self.over <= self.allowed


class Bracket(NamedTuple):
    """What trials say: 0 where none passed, and infinity where none failed."""

    passed: float
    failed: float

    @classmethod
    def of(cls, trials: Sequence[Trial]) -> Bracket:
        """Returns the highest rate that passed below the lowest that failed, and that one."""
        failed = min((one.rate for one in trials if not one.passed), default=float("inf"))
        below = [one.rate for one in trials if one.passed and one.rate < failed]
        return cls(max(below, default=0.0), failed)

    @property
    def narrow(self) -> bool:
        """Whether nothing is left to be searched."""
        open_above = self.failed == float("inf")
        return not open_above and self.failed - self.passed <= NARROW * self.failed

    def next_rate(self) -> float:
        """Returns the rate to try: twice the highest, half the lowest, or the middle."""
        if self.failed == float("inf"):
            return 2 * self.passed
        return (self.passed + self.failed) / 2


@dataclass(frozen=True, kw_only=True)
class RateSearch(Timing):
    """Single samples that arrive at random: how many a second the model bears.

    A round is a trial, at a rate that depends on those before, of `seconds`; the last one is at the
    rate that was found, with other arrivals. A trial passes by the rule of LoadGen's server
    scenario. All models get the same exponential waits, scaled to their rates.

    Attributes:
        bound: seconds that latency may take, from the scheduled instant.
        percentile: whose latency that is, e.g. ``p99``.
    """

    bound: float
    percentile: str = "p99"

    metrics: ClassVar[tuple[MetricInfo, ...]] = SEARCH
    audits: ClassVar[tuple[str, ...]] = (
        "timed-answers", "open-search", "warm-up", "machine",
    )  # fmt: skip

    @property
    def kept(self) -> float:
        """The share of queries that keep the bound."""
        return PERCENTILES[self.percentile]

    def measure(self, context: TimedContext, clock: Clock) -> Iterator[Columns]:
        bench = Bench(context, clock)
        queries = bench.queries(1)
        bench.warm_up("", queries, self.seconds)
        alone = bench.closed(queries, seconds=self.share, most=MOST_QUERIES)
        rate = _FIRST * len(alone.ended) / alone.span
        needed = minimum_queries(1, self.kept)
        trials: list[Trial] = []
        confirmed = False
        for turn in range(self.turns):
            count = min(MOST_QUERIES, max(needed, int(rate * self.seconds)))
            if count > _LONGER * max(1.0, rate * self.seconds):
                bench.tape.facts("", {"too-slow": rate})
                yield bench.tape.columns()
                return
            gaps = context.draws.uniform([str(turn)], "arrivals", (count,))[0]
            bench.settle(queries, self.share)
            timed = bench.block(
                "", partial(bench.opened, queries, poisson_arrivals(gaps, rate), turn)
            )
            bench.tape.facts("", {"rate": rate})
            bench.answers("", queries, timed)
            trials.append(judged(rate, timed.seconds, self.bound, self.kept))
            yield bench.tape.columns()
            bracket = Bracket.of(trials)
            if confirmed:
                return
            confirmed = bracket.narrow
            rate = bracket.passed if confirmed else bracket.next_rate()

    def score(self, evidence: Evidence) -> Scored:
        """Computes the highest rate that passed, and the lowest that did not."""
        readings = Readings.of(evidence)
        trials = trials_of(readings, self.bound, self.kept)
        table = pd.DataFrame(
            {
                "rate": [one.rate for one in trials],
                "queries": [one.queries for one in trials],
                "over_bound": [one.over for one in trials],
                "allowed": [one.allowed for one in trials],
                "passed": [one.passed for one in trials],
            }
        )
        rows = [
            _highest(trials, readings),
            Row(metric="trials", value=float(len(trials)), n=len(trials), reason="it is a count"),
        ]
        return Scored(rows, {"trials": table})


def trials_of(readings: Readings, bound: float, share: float) -> list[Trial]:
    """Returns the trials that were recorded, in order."""
    rates = readings.fact("rate").tolist()
    parts = readings.queries().by_round
    return [judged(rate, part, bound, share) for rate, part in zip(rates, parts, strict=True)]


def judged(rate: float, seconds: Floats, bound: float, share: float) -> Trial:
    """Returns a trial from the latencies of its queries."""
    over = int((seconds > bound).sum())
    return Trial(rate, len(seconds), over, allowed_over(len(seconds), share))


def _highest(trials: list[Trial], readings: Readings) -> Row:
    bracket, queries = Bracket.of(trials), sum(one.queries for one in trials)
    if not trials:
        slow = readings.fact("too-slow")
        reason = f"at {slow[0]:.3g} queries/s a trial of enough queries for the percentile lasts "
        reason += "more than ten times as long as was asked for"
    elif bracket.passed == 0:
        reason = f"no rate kept the bound, down to {bracket.failed:.3g} queries/s"
    elif bracket.failed == float("inf"):
        reason = f"no rate failed, up to {bracket.passed:.3g} queries/s"
    else:
        return Row(
            metric="highest-rate", value=bracket.passed, lower=bracket.passed,
            upper=bracket.failed, level=0.99, n=queries, method="bisection, early stopping",
        )  # fmt: skip
    return Row(metric="highest-rate", value=None, n=queries, reason=reason)
