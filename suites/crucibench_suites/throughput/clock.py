"""The clocks that timing reads: time, processor time, and what other processes take."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path
from typing import Protocol

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
