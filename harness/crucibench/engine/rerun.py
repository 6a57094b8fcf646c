"""Times two models in turns, on this machine: seconds by round.

What the seconds mean is judged elsewhere (`crucibench.gating.latency`).
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.data import EvalSet
from crucibench.engine.plan.roles import probe_rows

Call = Callable[[], object]
"""Answers one batch, synchronised with its device."""

Clock = Callable[[], float]
Order = Sequence[tuple[str, str]]
"""Who goes first and second in each round: A is the baseline, B the other."""

ROUND_SECONDS = 0.05
"""How long a round lasts at least: far above the clock's grain and the scheduler's."""

_WARM_UP = 5


@dataclass(frozen=True)
class Seconds:
    """Seconds a call by round, of the baseline and of what was timed next to it."""

    first: tuple[float, ...]
    second: tuple[float, ...]


class Rerun:
    """Times two models in turns.

    Making one warms both up and fixes how many calls a round has: as many for either model.
    """

    def __init__(
        self,
        baseline: Call,
        candidate: Call,
        order: Order,
        *,
        clock: Clock = time.perf_counter,
        seconds: float = ROUND_SECONDS,
    ) -> None:
        self._baseline = baseline
        self._candidate = candidate
        self._order = order
        self._clock = clock
        for call in (baseline, candidate):
            for _ in range(_WARM_UP):
                call()
        self.calls = self._enough(seconds)

    def floor(self) -> Seconds:
        """Times the baseline against itself."""
        return self._in_turns(self._baseline)

    def measured(self) -> Seconds:
        """Times baseline and candidate."""
        return self._in_turns(self._candidate)

    def _enough(self, seconds: float) -> int:
        calls = 1
        while (taken := self._round(self._baseline, calls)) < seconds / 4:
            calls *= 2
        return max(1, math.ceil(calls * seconds / taken))

    def _in_turns(self, other: Call) -> Seconds:
        found: dict[str, list[float]] = {"A": [], "B": []}
        timed = {"A": self._baseline, "B": other}
        gc.collect()
        collects = gc.isenabled()
        gc.disable()
        try:
            for turn in self._order:
                for name in turn:
                    taken = self._round(timed[name], self.calls)
                    found[name].append(taken / self.calls)
        finally:
            if collects:
                gc.enable()
        return Seconds(tuple(found["A"]), tuple(found["B"]))

    def _round(self, call: Call, calls: int) -> float:
        begun = self._clock()
        for _ in range(calls):
            call()
        return self._clock() - begun


def timed_call(adapter: Adapter, data: EvalSet, wanted: int | None) -> tuple[Call, int]:
    """Returns a call that answers one fixed batch of real samples, and the batch's size.

    Args:
        adapter: the model.
        data: its data; of ``test``, rows spread evenly over all, and all again where more are
            wanted than there are.
        wanted: how many samples; by default 64, or all where there are fewer.
    """
    count = data.card.counts["test"]
    size = min(64, count) if wanted is None else wanted
    rows = probe_rows(count, size) if size <= count else np.resize(np.arange(count), size)
    batch = data.batch("test", rows, adapter.input_spec)
    return partial(adapter.timed, batch), len(batch)
