"""The clocks that timing reads: time, processor time, and what other processes take."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SPIN_NS = 1_000_000
"""Sleeping is trusted to a millisecond; the rest is waited for by looking at the clock."""


class Clock(Protocol):
    """What timing reads, so that tests can put a scripted one in its place."""

    def now(self) -> int:
        """Nanoseconds of a clock that never goes back."""

    def until(self, instant: int) -> None:
        """Waits until `now` is at least `instant`; not at all if it has passed."""

    def cpu(self) -> float:
        """Seconds of processor time that this process has used."""

    def machine(self) -> float | None:
        """Seconds of processor time that all processes have used; None where it is not known."""


class SystemClock:
    """The clocks of this machine."""

    now = staticmethod(time.perf_counter_ns)
    cpu = staticmethod(time.process_time)

    def until(self, instant: int) -> None:
        """Sleeps, and looks at the clock for the last millisecond."""
        now = time.perf_counter_ns
        left = instant - now()
        if left > _SPIN_NS:
            time.sleep((left - _SPIN_NS) * 1e-9)
        while now() < instant:
            pass

    def machine(self) -> float | None:
        """Reads the first line of ``/proc/stat``: user, nice, system, interrupts and stolen."""
        try:
            with Path("/proc/stat").open(encoding="ascii") as stream:
                fields = [int(field) for field in stream.readline().split()[1:9]]
        except (OSError, ValueError):
            return None
        idle = fields[3] + fields[4]
        return (sum(fields) - idle) / os.sysconf("SC_CLK_TCK")


def grain(clock: Clock, looks: int = 2000) -> tuple[float, float]:
    """Returns a clock's smallest step and the median time of reading it, in seconds.

    Args:
        clock: the clock.
        looks: how often it is read.
    """
    now = clock.now
    seen = [now() for _ in range(looks)]
    steps = sorted(later - earlier for earlier, later in pairwise(seen))
    moved = [step for step in steps if step > 0]
    smallest = moved[0] if moved else 0
    # A coarse clock stands still between steps: then the mean says what a reading costs.
    median = steps[len(steps) // 2] or (seen[-1] - seen[0]) / max(1, len(steps))
    return smallest * 1e-9, median * 1e-9


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


TOLERANCE = 0.02
"""A fall by less of the median over the window is flat."""

LEAST = 5
MOST = 20_000
_BLOCKS = 10


@dataclass(frozen=True)
class WarmUp:
    """What warming up took.

    Attributes:
        begun: ns, shape (n,).
        seconds: of each call, the first among them, shape (n,).
        flat: whether it ended since times no longer fell, and not at a cap.
    """

    begun: NDArray[np.int64]
    seconds: NDArray[np.float64]
    flat: bool

    def __len__(self) -> int:
        return len(self.seconds)


def warm_up(
    ask: Callable[[int], object], clock: Clock, *, least: float, seconds: float, most: int = MOST
) -> WarmUp:
    """Asks until the later half of the calls shows no fall.

    Args:
        ask: asks the n-th query.
        clock: the clock.
        least: seconds that it takes at least, unless the count reaches its cap.
        seconds: the cap on time.
        most: the cap on calls.
    """
    now = clock.now
    begun: list[int] = []
    taken: list[float] = []
    start = now()
    look = LEAST
    while True:
        before = now()
        ask(len(taken))
        after = now()
        begun.append(before)
        taken.append((after - before) * 1e-9)
        spent = (after - start) * 1e-9
        count = len(taken)
        if count >= look:
            look = max(look + 1, math.ceil(look * 1.3))
            if spent >= least and is_flat(taken[count // 2 :] if count >= 2 * LEAST else taken):
                return WarmUp(np.array(begun), np.array(taken), True)
        if spent >= seconds or count >= most:
            return WarmUp(np.array(begun), np.array(taken), False)


def is_flat(times: ArrayLike) -> bool:
    """Whether times no longer fall: the slope of their blocks' medians is about nil.

    The times are cut into at most ten blocks, each stands by its median, and a line is fitted. Flat
    is a fall over the whole window of less than 2 % of the median, or of less than two standard
    errors of it.
    """
    values = np.asarray(times, dtype=np.float64)
    if len(values) < 3:
        return False
    blocks = np.array(
        [np.median(part) for part in np.array_split(values, min(_BLOCKS, len(values)))]
    )
    level = float(np.median(blocks))
    if level <= 0:
        return True
    places = np.linspace(-0.5, 0.5, len(blocks))
    spread = float(places @ places)
    slope = float(places @ blocks) / spread
    residuals = blocks - blocks.mean() - slope * places
    error = math.sqrt(float(residuals @ residuals) / (len(blocks) - 2) / spread)
    return -slope <= max(TOLERANCE * level, 2 * error)
