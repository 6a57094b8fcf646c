"""What each scenario does in a round. A round is short, so that models take turns often."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import TimedContext
from crucibench.util.memory import free_memory, is_out_of_memory
from crucibench_suites.throughput.bench import Bench, typical
from crucibench_suites.throughput.clock import Clock
from crucibench_suites.throughput.loops import poisson_arrivals
from crucibench_suites.throughput.points import batch_point, load_point
from crucibench_suites.throughput.work import ceiling, count_flops

if TYPE_CHECKING:
    from crucibench.contracts.batch import Batch

MOST_QUERIES = 50_000
"""In a round: enough for every percentile, and few enough to keep."""

_CACHE_SHARE = 0.25
"""Of a round's time, for asking twice."""


class TimeBudget(NamedTuple):
    """The time that each point of a scenario gets.

    Attributes:
        seconds: in all rounds together; the warm-up gets as much at most.
        turns: the number of rounds.
    """

    seconds: float
    turns: int

    @property
    def share(self) -> float:
        """The seconds of one round."""
        return self.seconds / self.turns


def stream_rounds(
    samples: int, budget: TimeBudget, context: TimedContext, clock: Clock
) -> Iterator[Columns]:
    """Yields rounds of one query of so many samples after the other."""
    bench = Bench(context, clock)
    queries = bench.queries(samples)
    share = budget.share
    bench.warm_up("", queries, budget.seconds)
    for turn in range(budget.turns):
        bench.settle(queries, share)
        timed = bench.block(
            "",
            partial(bench.closed, queries, seconds=share, most=MOST_QUERIES, turn=turn),
        )
        bench.twice(queries, typical(timed), _CACHE_SHARE * share, f"fresh/{turn}")
        bench.answers("", queries, timed)
        if turn == budget.turns - 1:
            bench.idle()
        yield bench.tape.columns()


def offline_rounds(
    sizes: Sequence[int], budget: TimeBudget, context: TimedContext, clock: Clock
) -> Iterator[Columns]:
    """Yields rounds of batches of each size in turn.

    A size at which memory runs out, or one batch would take half of a point's time, ends the sweep.
    """
    bench = Bench(context, clock)
    share = budget.share
    pools: dict[int, list[Batch]] = {}
    for size in sizes:
        point = batch_point(size)
        try:
            pools[size] = bench.queries(size)
            late = bench.warm_up(point, pools[size], budget.seconds)
        except Exception as error:
            if size == sizes[0] or not is_out_of_memory(error):
                raise
            pools.pop(size, None)
            free_memory()
            bench.tape.facts(point, {"out-of-memory": 1.0})
            break
        if late > budget.seconds / 2 and size != sizes[-1]:
            break
    bench.tape.facts("", count_flops(context.adapter, pools[sizes[0]][0]))
    bench.tape.facts("", ceiling(context.adapter, clock))
    bench.rest()
    for turn in range(budget.turns):
        for size, queries in pools.items():
            bench.settle(queries, share)
            timed = bench.block(
                batch_point(size),
                partial(bench.closed, queries, seconds=share, most=MOST_QUERIES, turn=turn),
            )
            bench.answers(batch_point(size), queries, timed)
        yield bench.tape.columns()


def server_rounds(
    loads: Sequence[float], budget: TimeBudget, context: TimedContext, clock: Clock
) -> Iterator[Columns]:
    """Yields rounds of Poisson arrivals at each load in turn.

    All models get the same exponential waits, scaled to their own rate.
    """
    bench = Bench(context, clock)
    queries = bench.queries(1)
    share = budget.share
    bench.warm_up("", queries, budget.seconds)
    alone = bench.closed(queries, seconds=share, most=MOST_QUERIES)
    service = alone.span / len(alone.ended)
    for turn in range(budget.turns):
        for load in loads:
            point = load_point(load)
            rate = load / service
            count = int(np.clip(rate * share, 1, MOST_QUERIES))
            gaps = context.draws.uniform([f"{turn}/{load:g}"], "arrivals", (count,))[0]
            bench.settle(queries, share)
            timed = bench.block(
                point, partial(bench.opened, queries, poisson_arrivals(gaps, rate), turn)
            )
            bench.tape.facts(point, {"rate": rate, "service": service})
            bench.answers(point, queries, timed)
        yield bench.tape.columns()
