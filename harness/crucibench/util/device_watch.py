"""Measures how long a device itself works, beside the wall clock of the process that waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from crucibench.util.devices import synchronise

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


class Watch:
    """Watches a CPU, whose work is done when the call returns."""

    def around(self, work: Callable[[torch.Tensor], T], inputs: torch.Tensor) -> T:
        """Returns `work(inputs)` once the device has done it."""
        return work(inputs)

    def seconds(self) -> float | None:
        """Returns what the device took for the latest work, by its own clock; None without one."""
        return None


class CudaWatch(Watch):
    """Watches a CUDA device by events in its stream, before the first kernel and after the last.

    Gaps in which the device waits for the next launch are in the time; a copy to the device that
    ended before is not.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._device = device
        self._stream = torch.cuda.current_stream
        made: Any = torch.cuda.Event
        self._begun, self._ended = (made(enable_timing=True) for _ in range(2))
        self._used = False

    def around(self, work: Callable[[torch.Tensor], T], inputs: torch.Tensor) -> T:
        stream = self._stream(self._device)
        self._begun.record(stream)
        answer = work(inputs)
        self._ended.record(stream)
        synchronise(self._device)
        self._used = True
        return answer

    def seconds(self) -> float | None:
        return self._begun.elapsed_time(self._ended) * 1e-3 if self._used else None


def watch(device: str) -> Watch:
    """Returns what watches ``cpu``, ``cuda`` or ``cuda:N``."""
    return CudaWatch(device) if device.startswith("cuda") else Watch()
