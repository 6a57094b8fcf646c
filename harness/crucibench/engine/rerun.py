"""Two models timed in turns, here and now: stored runs opened again, and seconds by round.

What the seconds mean is judged elsewhere (`crucibench.gating.latency`).
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.data import EvalSet
from crucibench.engine.listener import Listener
from crucibench.engine.plan.roles import probe_rows
from crucibench.engine.resolve.resolve import resolve_stored
from crucibench.engine.worker.opening import Models, open_all_data
from crucibench.store.run import Run
from crucibench.util.devices import resolve_device

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
        """Times baseline and candidate; each time anew."""
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


class Reopened:
    """A stored run whose models and data are open again.

    Attributes:
        data: the open data sets by name.
        device: what its spec means by its device, on this machine.
        threads: likewise.
    """

    def __init__(self, run: Run, scratch: Path, listener: Listener) -> None:
        self._resolved = resolve_stored(run)
        self._where = _where(run)
        self._scratch = scratch
        self._listener = listener
        defaults = self._resolved.spec.defaults
        self.device = resolve_device(defaults.device)
        self.threads = (
            min(4, os.cpu_count() or 1) if defaults.threads == "auto" else defaults.threads
        )
        self.data: Mapping[str, EvalSet] = {}
        self._models: Models | None = None

    def open(self) -> None:
        """Opens the data.

        Raises:
            InputError: if they can't be read.
        """
        self.data = open_all_data(self._resolved, self._scratch, self._listener, self._where)
        cards = {name: entry.card for name, entry in self.data.items()}
        self._models = Models(self._resolved, self.device, cards)

    def device_of(self, model: str) -> str:
        """Returns where a model is to run."""
        asked = self._resolved.models[model].spec.device
        return self.device if asked == "auto" else asked

    def model(self, model: str, data: str) -> Adapter:
        """Returns an open model; the one before it may be closed."""
        if self._models is None:
            raise RuntimeError("open() comes first")
        return self._models.get(model, data, keep=1)

    def close(self) -> None:
        """Closes all models."""
        if self._models is not None:
            self._models.close()


def _where(run: Run) -> str:
    return f"spec.yaml of run {run.id}"
