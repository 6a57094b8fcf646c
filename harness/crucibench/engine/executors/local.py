"""Tasks done in processes of their own on this machine: one model, one process.

A process does the tasks of one model, or makes one data set, and nothing else: what a model's code
changes in it (a function of a library, a default, the environment) reaches no other model. Idle
processes are held, so that they take no processor time from the model whose turn it is, and the
ones that were used longest ago are ended where there are many.
"""

from __future__ import annotations

import os
import queue
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar

from crucibench.data.modalities import reader_of
from crucibench.engine.executors.base import Executor, SlotMessage
from crucibench.engine.executors.child import Packed, pack, receive, receive_packed
from crucibench.engine.executors.processes import WATCH_SECONDS, Process
from crucibench.engine.executors.zygote import Zygote, can_fork
from crucibench.engine.worker.tasks import (
    FINAL,
    Failed,
    Gone,
    MadeData,
    Message,
    Setup,
    Task,
    holds_state,
    owner_of,
)
from crucibench.util.devices import thread_variables
from crucibench.util.memory import available_memory, own_memory
from crucibench.util.numbers import size_text

_END_SECONDS = 5.0
_BEGIN_SECONDS = 120.0
"""Within so long a process that has done other tasks begins the next."""
_IDLE_AT_MOST = {"forked": 16, "started": 2}
"""How many processes may be idle beside those at work: a forked one shares the libraries."""
_LEAST_FREE = 2 << 30
"""With less memory than this left, idle processes are ended."""


class LocalExecutor(Executor):
    """Worker processes, each started when its model is first asked and again after it died."""

    name: ClassVar[str] = "local"

    def __init__(
        self, workers: int, threads: int, devices: int = 0, *,
        path: Sequence[str] | None = None, packed: bool = False, libraries: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Starts what imports libraries while the engine reads the data.

        Args:
            workers: how many at once.
            threads: of numerical libraries, in each.
            devices: CUDA devices to spread workers over; 0 leaves what they see alone.
            path: where they find modules; as this process does unless given.
            packed: messages are heard as `Packed`: they are meant for somebody else.
            libraries: modules that the models need, to be imported once for all.
        """
        self.slots = tuple(f"local-{number + 1}" for number in range(workers))
        self._devices = _visible_devices(devices)
        self._environment = dict(os.environ) | thread_variables(threads)
        self._path = sys.path if path is None else path
        self._receive: Callable[[BinaryIO], Any] = receive_packed if packed else receive
        self._received: queue.SimpleQueue[tuple[Process, Any]] = queue.SimpleQueue()
        self._all: list[Process] = []
        """In the order of their last use."""
        self._latest: dict[str, Process] = {}
        self._setup: Setup | Packed | None = None
        self._made: list[MadeData | Packed] = []
        self._aside: list[Process] = []
        self._idle_aside: list[tuple[Process, queue.SimpleQueue[tuple[Process, Any]]]] = []
        self._printed: dict[str, bytes] = {}
        self._watched = 0.0
        self._zygote: Zygote | None = None
        if can_fork() and not self._devices:
            self._zygote = Zygote(self._environment, self._path, libraries)
        else:
            self._all.append(self._start_process(self.slots[0]))

    def prepare(self, setup: Setup | Packed) -> None:
        self._setup = setup
        if self._zygote is not None and isinstance(setup, Setup):
            known = {card.task.modality for card in setup.cards.values()}
            needed = {name for one in known for name in reader_of(one).libraries}
            self._zygote.load(sorted(needed | ({"datasets"} & sys.modules.keys())))
        for process in self._all:
            process.send(setup)

    def share(self, made: MadeData | Packed) -> None:
        """Hands what one process has made of a data set to all, now or when they begin."""
        self._made.append(made)
        for process in self._all:
            process.send(made)

    def submit(self, slot: str, task: Task | Packed) -> None:
        if not isinstance(task, Packed):
            task = replace(pack(task), owner=owner_of(task), holds_state=holds_state(task))
        process = self._process_for(slot, task.owner)
        if task.holds_state is not None:
            process.in_use = task.holds_state
        process.slot, process.busy = slot, True
        process.owner = process.owner or task.owner
        process.tasks += bool(task.owner)  # what has none leaves nothing behind
        self._latest[slot] = process
        process.silent_since = time.monotonic()
        process.wake()
        process.send(task)

    def poll(self, seconds: float) -> Sequence[SlotMessage]:
        heard = self._over_limit()
        if heard:
            return heard
        try:
            process, message = self._received.get(timeout=min(seconds, WATCH_SECONDS))
        except queue.Empty:
            dead = [process for process in self._all if process.dead()]
            return [
                heard for process in dead for heard in self._gone(process)
            ] + self._unresponsive()
        if process not in self._all:
            return []  # one that was stopped
        process.silent_since = None
        if message is None:
            return self._gone(process)
        if _is_final(message):
            process.busy = False
            process.rest()
        return [SlotMessage(process.slot, message)]

    def do(self, task: Task) -> Any:
        """Has the first slot do a task, and waits for its last message, which is returned."""
        self.submit(self.slots[0], task)
        while True:
            for received in self.poll(WATCH_SECONDS):
                if _is_final(received.message):
                    return received.message

    def aside(self, task: Task) -> Message | None:
        """Has a process beside the slots do a task; each thread that waits has one."""
        try:
            process, heard = self._idle_aside.pop()
        except IndexError:
            heard = queue.SimpleQueue()
            process = Process(self._environment, self._path, self._zygote, self._receive, heard)
            self._aside.append(process)
            process.send(self._setup)
        process.send(task)
        message: Message | None = None
        while not isinstance(message, FINAL):
            _, message = heard.get()
            if message is None:
                return None
        self._idle_aside.append((process, heard))
        return message

    def where(self, slot: str) -> str:
        process = self._latest.get(slot)
        return process.trace() if process in self._all and process.busy else ""

    def stop(self, slot: str) -> None:
        process = self._latest.get(slot)
        if process in self._all:
            self._end(process)

    def close(self) -> None:
        for process in self._all:
            process.dismiss()
        for process in list(self._all):
            self._end(process, _END_SECONDS)
        for process in self._aside:
            process.end()
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def output(self, slot: str) -> bytes:
        process = self._latest.get(slot)
        printed = process.printed.take() if process in self._all else b""
        return self._printed.pop(slot, b"") + printed

    def _process_for(self, slot: str, owner: str) -> Process:
        """Returns an idle process for a task of `owner`: its own, an unused or a new one."""
        idle = [process for process in self._all if not process.busy]
        if self._devices:  # what a process sees of them was decided when it was started
            idle = [process for process in idle if process.slot == slot]
        own = [process for process in idle if process.owner == owner]
        unused = [process for process in idle if not process.owner and not process.in_use]
        # Prefer a process that holds what earlier tasks left, then the one that the slot used last.
        own.sort(key=lambda process: (process.in_use, process is self._latest.get(slot)))
        if usable := own or unused:
            found = usable[-1]
            self._all.remove(found)
        else:
            self._make_room(idle)
            found = self._start_process(slot)
        self._all.append(found)
        return found

    def _make_room(self, idle: Sequence[Process]) -> None:
        most = _IDLE_AT_MOST["started" if self._zygote is None else "forked"]
        free = available_memory()
        if free is not None and free < _LEAST_FREE:
            most = 1
        spare = [process for process in idle if not process.in_use]
        for process in spare[: max(0, len(idle) - most)]:
            self._end(process)

    def _start_process(self, slot: str) -> Process:
        environment = dict(self._environment)
        if self._devices:
            number = self.slots.index(slot)
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[number % len(self._devices)]
        process = Process(environment, self._path, self._zygote, self._receive, self._received)
        process.slot = slot
        for message in (self._setup, *self._made):
            if message is not None:
                process.send(message)
        return process

    def _end(self, process: Process, patience: float = 0.0) -> None:
        self._all.remove(process)
        process.end(patience)
        if self._latest.get(process.slot) is process:
            self._printed[process.slot] = process.printed.take()

    def _gone(self, process: Process) -> list[SlotMessage]:
        if not process.busy:
            self._end(process)  # an idle one: the next task gets a new one
            return []
        message = Gone(process.reason(), process.printed.tail(), killed=process.killed)
        self._end(process)
        return [SlotMessage(process.slot, message)]

    def _unresponsive(self) -> list[SlotMessage]:
        """Ends processes that don't begin: what an earlier task left there keeps them from it."""
        found = []
        for process in [process for process in self._all if process.busy and process.tasks > 1]:
            if (
                process.silent_since is not None
                and time.monotonic() - process.silent_since > _BEGIN_SECONDS
            ):
                reason = (
                    f"the worker did not begin its task within {_BEGIN_SECONDS:g} s: the model's "
                    "code holds its process, or took over the pipe"
                )
                found.append(SlotMessage(process.slot, Gone(reason, process.trace())))
                self._end(process)
        return found

    def _over_limit(self) -> list[SlotMessage]:
        limit = None if self._setup is None else self._setup.memory
        if limit is None or time.monotonic() - self._watched < WATCH_SECONDS:
            return []
        self._watched = time.monotonic()
        for process in [process for process in self._all if process.busy]:
            used = own_memory(process.pid) or 0
            if used > limit:
                reason = (
                    f"the worker used {size_text(used)} of memory, more than its limit of "
                    f"{size_text(limit)}"
                )
                message: Message = Gone(reason, process.printed.tail())
                if process.tasks > 1:  # what other tasks left behind may be to blame
                    message = Failed("worn", reason)
                self._end(process)
                return [SlotMessage(process.slot, message)]
        return []


def _is_final(message: Message | Packed) -> bool:
    return message.final if isinstance(message, Packed) else isinstance(message, FINAL)


def _visible_devices(count: int) -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and count:
        return [part.strip() for part in visible.split(",") if part.strip()][:count]
    return [str(number) for number in range(count)]
