"""One model on the bench: its queries, and what is noted around every block of timed ones."""

from __future__ import annotations

import gc
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import TimedContext
from crucibench.contracts.task import Task
from crucibench.util.draws import Draws
from crucibench.util.memory import peak_memory, reset_peak, resident_memory
from crucibench_suites.throughput.clock import (
    Ask,
    Clock,
    TimedQueries,
    closed_loop,
    grain,
    open_loop,
    warm_up,
)
from crucibench_suites.throughput.device import PowerMeter
from crucibench_suites.throughput.records import FRESH, QUERY, REPEATED, Tape

POOL = 256
"""Real samples that are asked about, in turn."""

_NEW = 32
"""New inputs a round at most, asked about twice to find caches."""

_WARM_UP_LEAST = 0.05
_SETTLING = 0.05
_SETTLING_MOST = 1000
_IDLE_AFTER, _IDLE_FOR = 0.3, 0.1
_FOREVER = 1e9
_IDLE_POWER_FOR = 2.0


class Bench:
    """What the scenarios share: warm-up, timed blocks and their circumstances, answers."""

    def __init__(self, context: TimedContext, clock: Clock) -> None:
        gc.collect()  # once: it takes long in a large process, and the loops let it rest
        self.adapter = context.adapter
        self.clock = clock
        self.tape = Tape(clock)
        self._context = context
        self._samples: Batch | None = None
        self._meter: PowerMeter | None = None
        with suppress(LookupError):
            self._meter = PowerMeter(self.adapter.device)
        self._device = self.adapter.device_seconds if _on_cuda(self.adapter) else None
        step, reading = grain(clock)
        self.tape.facts(
            "",
            {
                "clock-step": step, "clock-reading": reading, "cores": float(os.cpu_count() or 1),
                "on-cuda": float(_on_cuda(self.adapter)),
            },
        )  # fmt: skip

    def rest(self) -> None:
        """Notes what the device uses, and what others do on it, while this process is idle."""
        if self._meter is None:
            return
        clock, meter = self.clock, self._meter
        begun, joules = clock.now(), meter.joules()
        clock.until(begun + round(_IDLE_POWER_FOR * 1e9))
        watts = (meter.joules() - joules) / ((clock.now() - begun) * 1e-9)
        self.tape.facts("", {"idle-watts": watts, "idle-utilisation": meter.utilisation()})

    def closed(
        self,
        queries: Sequence[Any],
        *,
        seconds: float,
        most: int,
        turn: int = 0,
        ask: Ask | None = None,
    ) -> TimedQueries:
        """Asks the model one query after the other, see `closed_loop`; or `ask` instead of it."""
        return closed_loop(
            ask or self.adapter.timed, queries, self.clock, seconds=seconds, most=most, turn=turn,
            device=self._device,
        )  # fmt: skip

    def opened(
        self, queries: Sequence[Any], arrivals: NDArray[np.int64], turn: int
    ) -> TimedQueries:
        """Asks the model at scheduled instants, see `open_loop`."""
        return open_loop(
            self.adapter.timed, queries, arrivals, self.clock, turn=turn, device=self._device
        )

    def queries(self, size: int) -> list[Batch]:
        """Returns a pool of queries of `size` real samples each, all different where there are so
        many.
        """
        count = max(size, POOL // size * size)
        if self._samples is None or len(self._samples) < count:
            self._samples = self._context.load(count)
        samples = self._samples
        return [samples.take(range(first, first + size)) for first in range(0, count, size)]

    def warm_up(
        self, point: str, queries: Sequence[Any], seconds: float, ask: Ask | None = None
    ) -> float:
        """Warms up, at most twice as long as is timed, and returns the seconds of a late call."""
        ask, size = ask or self.adapter.timed, len(queries)
        found = warm_up(
            lambda number: ask(queries[number % size]), self.clock,
            least=_WARM_UP_LEAST * seconds, seconds=2 * seconds,
        )  # fmt: skip
        self.tape.warm_up(point, found.begun, found.seconds)
        self.tape.facts(point, {"warm-up-flat": float(found.flat)})
        return float(np.median(found.seconds[len(found) // 2 :]))

    def settle(self, queries: Sequence[Any], seconds: float, ask: Ask | None = None) -> None:
        """Brings back what the other models' turns drove out of caches; notes nothing."""
        self.closed(queries, seconds=_SETTLING * seconds, most=_SETTLING_MOST, ask=ask)

    def block(self, point: str, run: Callable[[], TimedQueries]) -> TimedQueries:
        """Times a block of queries and notes what the machine did meanwhile."""
        clock = self.clock
        reset_peak()
        _reset_device_peak(self.adapter.device)
        before = resident_memory(os.getpid())
        joules = None if self._meter is None else self._meter.joules()
        wall, cpu, machine = clock.now(), clock.cpu(), clock.machine()
        timed = run()
        wall = clock.now() - wall
        used, all_used = clock.cpu() - cpu, clock.machine()
        peak = peak_memory()
        self.tape.timed(point, QUERY, timed)
        self.tape.facts(
            point,
            {
                "wall": wall * 1e-9,
                "span": timed.span,
                "cpu": used,
                "others": None if machine is None or all_used is None
                else max(0.0, all_used - machine - used),
                "working-memory": None if before is None or peak is None
                else float(max(0, peak - before)),
                **_device_peaks(self.adapter.device),
                **({} if self._meter is None or joules is None
                   else {"joules": self._meter.joules() - joules, **self._meter.state()}),
            },
        )  # fmt: skip
        return timed

    def twice(self, queries: Sequence[Batch], typical: float, seconds: float, step: str) -> None:
        """Asks about new inputs, and then about the same ones again (MLPerf's TEST04).

        Args:
            queries: what the new inputs resemble.
            typical: seconds of a query.
            seconds: about how long it may take.
            step: names the draws.
        """
        size = len(queries[0])
        count = max(1, min(_NEW, len(queries), int(seconds / 4 / max(typical, 1e-9))))
        if self._samples is None:
            raise RuntimeError("queries() comes first")
        pool = freshened(self._samples, self._context.draws, step, count * size)
        parts = [range(first, first + size) for first in range(0, count * size, size)]
        ask, most = self.adapter.timed, count
        # What else is quicker the second time, the processor's caches and a data frame that knows
        # its columns, must not pass for a model that knows an answer: so both start alike, from new
        # objects, after queries that are not noted.
        for phase, longest in ((FRESH, seconds / 4), (REPEATED, _FOREVER)):
            new = [pool.take(part) for part in parts]
            closed_loop(ask, queries, self.clock, seconds=seconds / 4, most=count)
            timed = closed_loop(ask, new, self.clock, seconds=longest, most=most)
            self.tape.timed("", phase, timed)
            most = len(timed.ended)

    def answers(self, point: str, queries: Sequence[Batch], timed: TimedQueries) -> None:
        """Notes what was answered while the clock ran (MLPerf's TEST01)."""
        for query, answer in zip(queries, timed.answers, strict=True):
            outputs = None if answer is None else self.adapter.read_timed(answer)
            if outputs is not None:
                predictions, scores = read_outputs(outputs, self.adapter.task)
                if len(predictions) == len(query):
                    self.tape.answers(point, query.ids, predictions, scores)

    def idle(self) -> None:
        """Notes what this process still does when nobody asks it anything."""
        clock = self.clock
        clock.until(clock.now() + round(_IDLE_AFTER * 1e9))
        begun, cpu = clock.now(), clock.cpu()
        clock.until(begun + round(_IDLE_FOR * 1e9))
        self.tape.facts("", {"idle-cpu": (clock.cpu() - cpu) / ((clock.now() - begun) * 1e-9)})


def typical(timed: TimedQueries) -> float:
    """Returns the median latency of a block, in s."""
    return float(statistics.median(timed.seconds.tolist()))


def read_outputs(
    outputs: Answer, task: Task
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Returns predictions and their scores, (n,) each; NaN for a score that there is not.

    Of lists their lengths, and a sum over what is in them.
    """
    if any(field.lists for field in task.definition.fields):
        return of_lists(task.definition.prediction(outputs))
    if outputs.values is not None:
        values = np.asarray(outputs.values, dtype=np.float64)
        return values, values
    if outputs.scores is not None:
        return chosen(np.asarray(outputs.scores))
    labels = np.asarray([] if outputs.labels is None else outputs.labels, dtype=np.float64)
    return labels, np.full(len(labels), np.nan)


def of_lists(found: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the length of each list, and a number that tells others of its length apart."""
    summary = found.summary()
    return summary[:, 0], summary[:, 1:].sum(axis=1)


def chosen(scores: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the class of the highest score, the first of equals, and that score.

    No class, NaN, where that score is not finite.
    """
    places = scores.argmax(axis=1)
    best = np.take_along_axis(scores, places[:, None], axis=1)[:, 0].astype(np.float64)
    return np.where(np.isfinite(best), places, np.nan), best


def _on_cuda(adapter: Adapter) -> bool:
    return adapter.device.startswith("cuda")


def _allocator(device: str) -> Any:
    """Returns torch's CUDA memory functions, or None where the model does not answer there."""
    torch = sys.modules.get("torch")
    there = torch is not None and device.startswith("cuda") and torch.cuda.is_initialized()
    return torch.cuda if torch is not None and there else None


def _reset_device_peak(device: str) -> None:
    if (cuda := _allocator(device)) is not None:
        cuda.reset_peak_memory_stats(device)


def _device_peaks(device: str) -> dict[str, float]:
    """Returns what torch allocated on the device at most, and what it reserved there, in bytes."""
    if (cuda := _allocator(device)) is None:
        return {}
    return {
        "device-memory": float(cuda.max_memory_allocated(device)),
        "device-reserved": float(cuda.max_memory_reserved(device)),
    }


_PIXEL = 2.0 / 255


def freshened(batch: Batch, draws: Draws, step: str, count: int) -> Batch:
    """Returns `count` samples like the first of a batch, of the same sizes and shapes, but new.

    Images get noise of at most two grey levels, tables rows whose columns come from different
    samples of the batch, texts their words in another order. What they are about does not matter:
    they are timed and their answers are thrown away.
    """
    first = batch.take(range(count))
    if isinstance(batch.inputs, list) and hasattr(batch.inputs[0], "numel"):
        one_by_one = (first.take([row]) for row in range(count))
        return first.with_inputs(
            [_images(one.with_inputs(one.inputs[0][None]), draws, step)[0] for one in one_by_one]
        )
    if isinstance(batch.inputs, list):
        texts = [
            _text(text, draws, identity, step)
            for text, identity in zip(first.inputs, first.ids, strict=True)
        ]
        return first.with_inputs(texts)
    if hasattr(batch.inputs, "iloc"):
        return first.with_inputs(_rows(batch.inputs, draws, step, count))
    return first.with_inputs(_images(first, draws, step))


def _images(batch: Batch, draws: Draws, step: str) -> Any:
    import torch

    shape = tuple(batch.inputs.shape[1:])
    noise = torch.from_numpy(draws.uniform(batch.ids, step, shape)) - 0.5
    return (batch.inputs + 2 * _PIXEL * noise).clamp(0, 1)


def _rows(frame: Any, draws: Draws, step: str, count: int) -> Any:
    columns = {}
    for place, name in enumerate(frame.columns):
        drawn = draws.integers([f"column {place}"], step, (count,), high=len(frame))[0]
        columns[name] = frame[name].iloc[drawn].reset_index(drop=True)
    rows = type(frame)(columns)
    # Looking a column up fills a store in the index: a new one would slow the first query down.
    rows.columns = frame.columns
    return rows


def _text(text: Any, draws: Draws, identity: str, step: str) -> Any:
    if isinstance(text, tuple):
        return tuple(
            _text(part, draws, f"{identity}/{place}", step) for place, part in enumerate(text)
        )
    words = text.split(" ")
    order = np.argsort(draws.uniform([identity], step, (len(words),))[0], kind="stable")
    return " ".join(words[place] for place in order)
