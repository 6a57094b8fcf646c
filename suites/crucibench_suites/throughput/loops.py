"""The loops in which queries are timed: one after the other, or at scheduled instants."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench_suites.throughput.clock import Clock

KEPT = 16
"""Of so many queries of the pool the answer to one is kept."""

Ask = Callable[[Any], object]
"""Answers a query, synchronised with the device."""

Device = Callable[[], float | None]
"""What the device took for the latest query, s, by its own clock."""


@dataclass(frozen=True)
class TimedQueries:
    """Queries that were timed.

    Attributes:
        issued: the instant that latency counts from: when the query was asked, or was scheduled to
            be; ns, shape (n,).
        started: when it was asked.
        ended: when its answer was there.
        answers: the latest answer to some queries of the pool, None for the others.
        device: s that the device itself took for each, by its own clock, shape (n,); shape (0,)
            where it has none.
    """

    issued: NDArray[np.int64]
    started: NDArray[np.int64]
    ended: NDArray[np.int64]
    answers: list[Any] = field(default_factory=list)
    device: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Latency, shape (n,)."""
        return np.asarray((self.ended - self.issued) * 1e-9, dtype=np.float64)

    @property
    def span(self) -> float:
        """Seconds from the first query's issue to the last answer."""
        return float(self.ended[-1] - self.issued[0]) * 1e-9 if len(self.ended) else 0.0


def closed_loop(
    ask: Ask,
    queries: Sequence[Any],
    clock: Clock,
    *,
    seconds: float,
    most: int,
    turn: int = 0,
    device: Device | None = None,
) -> TimedQueries:
    """Asks one query after the other, in turn through a pool, until the time is over.

    At least one query is asked. Python's collector of garbage rests meanwhile: its pauses are the
    harness's, not the model's.

    Args:
        ask: the model.
        queries: the pool.
        clock: what is read, twice a query.
        seconds: for how long.
        most: as many queries at most.
        turn: which answers are kept; another choice each turn.
        device: the device's own clock, read after each query and not in its time; or None.
    """
    now = clock.now
    started: list[int] = []
    ended: list[int] = []
    answers: list[Any] = [None] * len(queries)
    taken: list[float | None] = []
    note_start, note_end = started.append, ended.append
    kept = list(enumerate(_kept(len(queries), turn)))
    left = most
    with collector_at_rest():
        deadline = now() + round(seconds * 1e9)
        while left > 0:
            for slot, keep in kept:
                before = now()
                answer = ask(queries[slot])
                after = now()
                if keep:
                    answers[slot] = answer
                answer = None  # else the next one can't have its memory
                note_start(before)
                note_end(after)
                if device is not None:
                    taken.append(device())
                left -= 1
                if after >= deadline or left <= 0:
                    left = 0
                    break
    begun = np.array(started, dtype=np.int64)
    return TimedQueries(begun, begun, np.array(ended, dtype=np.int64), answers, _seconds(taken))


def open_loop(
    ask: Ask,
    queries: Sequence[Any],
    arrivals: NDArray[np.int64],
    clock: Clock,
    *,
    turn: int = 0,
    device: Device | None = None,
) -> TimedQueries:
    """Asks queries at scheduled instants, or as soon after them as the model is free.

    A query's latency counts from the instant it was scheduled for, so that the wait behind a slow
    one counts for all that wait (Tene: coordinated omission; LoadGen's server scenario likewise).

    Args:
        ask: the model.
        queries: the pool, taken in turn.
        arrivals: ns from the start, increasing, shape (n,).
        clock: what is read.
        turn: which answers are kept; another choice each turn.
        device: the device's own clock, read after each query and not in its time; or None.
    """
    now, until = clock.now, clock.until
    started: list[int] = []
    ended: list[int] = []
    answers: list[Any] = [None] * len(queries)
    taken: list[float | None] = []
    size, kept = len(queries), _kept(len(queries), turn)
    with collector_at_rest():
        begin = now()
        for position, offset in enumerate(arrivals.tolist()):
            until(begin + offset)
            slot = position % size
            started.append(now())
            answer = ask(queries[slot])
            ended.append(now())
            if device is not None:
                taken.append(device())
            if kept[slot]:
                answers[slot] = answer
            answer = None
    return TimedQueries(
        arrivals + begin, np.array(started, dtype=np.int64), np.array(ended, dtype=np.int64),
        answers, _seconds(taken),
    )  # fmt: skip


def poisson_arrivals(gaps: NDArray[np.floating[Any]], rate: float) -> NDArray[np.int64]:
    """Returns the instants of a Poisson process, in ns from the start.

    Args:
        gaps: uniform draws in [0, 1), shape (n,).
        rate: queries a second, above 0.
    """
    waits = -np.log1p(-np.asarray(gaps, dtype=np.float64)) / rate
    return np.asarray(np.round(np.cumsum(waits) * 1e9), dtype=np.int64)


def _seconds(taken: list[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if one is None else one for one in taken], dtype=np.float64)


def _kept(size: int, turn: int) -> list[bool]:
    """Returns for each query whether its answer is kept: one in sixteen.

    A kept answer holds memory that the next one could have used, which slows a quick model down.
    """
    every = min(KEPT, size)
    return [(slot + turn) % every == 0 for slot in range(size)]


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Collects no garbage until the end."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
