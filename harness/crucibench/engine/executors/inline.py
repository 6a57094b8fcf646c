"""Tasks done in this process: for live objects, and for models that are trusted not to crash."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from crucibench.contracts.data import EvalSet
from crucibench.engine.executors.base import Executor, SlotMessage
from crucibench.engine.worker.replaced import LibraryWatch
from crucibench.engine.worker.tasks import Message, Setup, Task
from crucibench.engine.worker.worker import Worker


class InlineExecutor(Executor):
    """One slot. `poll` works up to the next message."""

    name: ClassVar[str] = "inline"
    isolated: ClassVar[bool] = False
    caching: ClassVar[bool] = False

    def __init__(self, data: Mapping[str, EvalSet], watch: LibraryWatch) -> None:
        """Takes the data sets, open already, and what notes functions that models replace."""
        self.slots = ("inline",)
        self._data = data
        self._watch = watch
        self._worker: Worker | None = None
        self._running: Iterator[Message] | None = None

    def prepare(self, setup: Setup) -> None:
        self._worker = Worker(setup, self._data, isolated=False)

    def submit(self, slot: str, task: Task) -> None:
        if self._worker is None:
            raise AssertionError("prepare comes before submit")
        self._running = self._worker.perform(task)

    def poll(self, seconds: float) -> Sequence[SlotMessage]:
        message = None if self._running is None else next(self._running, None)
        if message is None:
            self._running = None
            return []
        return [SlotMessage(self.slots[0], message)]

    def replaced(self) -> Sequence[str]:
        return self._watch.replaced()

    def stop(self, slot: str) -> None:
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]
        self._running = None

    def close(self) -> None:
        self.stop(self.slots[0])
        if self._worker is not None:
            self._worker.close()
