"""Measures what a task costs: time, processor time, passes through the model, memory."""

from __future__ import annotations

import time
from typing import Any

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.capability import Capability
from crucibench.engine.worker.tasks import TaskCost
from crucibench.util.memory import peak_memory, reset_peak


class Meter:
    """Measures from its construction until `read`."""

    def __init__(self, adapter: Adapter | None = None, device: str = "cpu") -> None:
        self._adapter = adapter
        self._before = (0, 0) if adapter is None else _passes(adapter)
        self._events = _Events(device) if device.startswith("cuda") else None
        reset_peak()
        self._begun = time.time()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def read(self) -> TaskCost:
        """Returns what was spent."""
        seconds, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        after = (0, 0) if self._adapter is None else _passes(self._adapter)
        return TaskCost(
            begun=round(self._begun, 3),
            seconds=round(seconds, 6),
            cpu_seconds=round(cpu, 6),
            device_seconds=None if self._events is None else self._events.seconds(),
            forwards=after[0] - self._before[0],
            backwards=after[1] - self._before[1],
            peak_memory=peak_memory(),
        )


def count_passes(adapter: Adapter) -> None:
    """Lets the passes through `adapter.module()` be counted like those through `predict`."""
    passes = adapter.passes
    if Capability.GRADIENTS not in adapter.capabilities or passes.watched:
        return
    passes.watched = True

    def forward(module: Any, args: Any, output: Any) -> None:
        passes.forwards += len(args[0]) if args else 0
        if getattr(output, "requires_grad", False):
            output.register_hook(backward)

    def backward(gradient: Any) -> None:
        passes.backwards += len(gradient)

    adapter.module().register_forward_hook(forward)


def _passes(adapter: Adapter) -> tuple[int, int]:
    return adapter.passes.forwards, adapter.passes.backwards


class _Events:
    """The time between two events on a CUDA device."""

    def __init__(self, device: str) -> None:
        import torch

        self._device = device
        with torch.cuda.device(device):
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self._first, self._last = events
            self._first.record()

    def seconds(self) -> float:
        import torch

        with torch.cuda.device(self._device):
            self._last.record()
        self._last.synchronize()
        return round(float(self._first.elapsed_time(self._last)) / 1000, 6)
