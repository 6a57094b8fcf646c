"""Tasks done in processes of their own on this machine: a model that dies takes one down."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, ClassVar

from crucibench.engine.executors.base import Executor, Heard
from crucibench.engine.executors.frames import Packed, receive, receive_packed, send
from crucibench.engine.executors.printed import Printed
from crucibench.engine.tasks import FINAL, FactsTask, Failed, Gone, Message, Setup, Task
from crucibench.util.devices import thread_variables
from crucibench.util.memory import own_memory
from crucibench.util.text import size_words

_MAIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from crucibench.engine.executors.child import main; main(int(sys.argv[2]))"
)
_WATCH_SECONDS = 0.25
_TRACE_SECONDS = 1.0
_END_SECONDS = 5.0


class LocalExecutor(Executor):
    """Worker processes, each started when it is first needed and again after it died."""

    name: ClassVar[str] = "local"

    def __init__(
        self, workers: int, threads: int, devices: int = 0, *,
        path: Sequence[str] | None = None, packed: bool = False,
    ) -> None:  # fmt: skip
        """Starts the first process: it loads libraries while the engine reads the data.

        Args:
            workers: how many at once.
            threads: of numerical libraries, in each.
            devices: CUDA devices to spread workers over; 0 leaves what they see alone.
            path: where they find modules; as this process does unless given.
            packed: messages are heard as `Packed`: they are meant for somebody else.
        """
        self.slots = tuple(f"local-{number + 1}" for number in range(workers))
        self._threads = threads
        self._devices = _visible_devices(devices)
        self._path = path
        self._receive: Callable[[BinaryIO], Any] = receive_packed if packed else receive
        self._heard: queue.SimpleQueue[tuple[_Process, Any]] = queue.SimpleQueue()
        self._processes: dict[str, _Process] = {}
        self._setup: Setup | Packed | None = None
        self._printed: dict[str, bytes] = {}
        self._watched = 0.0
        self._hire(self.slots[0])

    def prepare(self, setup: Setup | Packed) -> None:
        self._setup = setup
        for process in self._processes.values():
            process.send(setup)

    def submit(self, slot: str, task: Task | Packed) -> None:
        process = self._processes.get(slot) or self._hire(slot)
        process.busy = True
        process.tasks += not isinstance(task, FactsTask)  # which leaves nothing behind
        process.send(task)

    def hear(self, seconds: float) -> Sequence[Heard]:
        heard = self._over_limit()
        if heard:
            return heard
        try:
            process, message = self._heard.get(timeout=min(seconds, _WATCH_SECONDS))
        except queue.Empty:
            dead = [process for process in self._processes.values() if process.dead()]
            return [heard for process in dead for heard in self._gone(process)]
        if self._processes.get(process.slot) is not process:
            return []  # a process that was stopped
        if message is None:
            return self._gone(process)
        if message.final if isinstance(message, Packed) else isinstance(message, FINAL):
            process.busy = False
        return [Heard(process.slot, message)]

    def where(self, slot: str) -> str:
        return self._processes[slot].trace() if slot in self._processes else ""

    def stop(self, slot: str) -> None:
        if slot in self._processes:
            self._end(slot)

    def close(self) -> None:
        for process in self._processes.values():
            process.dismiss()
        for slot in list(self._processes):
            self._end(slot, _END_SECONDS)

    def output(self, slot: str) -> bytes:
        process = self._processes.get(slot)
        return self._printed.pop(slot, b"") + (b"" if process is None else process.printed.take())

    def _hire(self, slot: str) -> _Process:
        number = self.slots.index(slot)
        environment = dict(os.environ) | thread_variables(self._threads)
        if self._devices:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[number % len(self._devices)]
        path = sys.path if self._path is None else self._path
        process = _Process(slot, environment, path, self._receive, self._heard)
        self._processes[slot] = process
        if self._setup is not None:
            process.send(self._setup)
        return process

    def _end(self, slot: str, patience: float = 0.0) -> None:
        process = self._processes.pop(slot)
        process.end(patience)
        self._printed[slot] = process.printed.take()

    def _gone(self, process: _Process) -> list[Heard]:
        if not process.busy:
            self._end(process.slot)  # an idle worker: the next task gets a new one
            return []
        message = Gone(process.reason(), process.printed.tail())
        self._end(process.slot)
        return [Heard(process.slot, message)]

    def _over_limit(self) -> list[Heard]:
        limit = None if self._setup is None else self._setup.memory
        if limit is None or time.monotonic() - self._watched < _WATCH_SECONDS:
            return []
        self._watched = time.monotonic()
        for slot, process in list(self._processes.items()):
            used = own_memory(process.pid) or 0
            if process.busy and used > limit:
                reason = (
                    f"the worker used {size_words(used)} of memory, more than its limit of "
                    f"{size_words(limit)}"
                )
                message: Message = Gone(reason, process.printed.tail())
                if process.tasks > 1:  # what other tasks left behind may be to blame
                    message = Failed("worn", reason)
                self._end(slot)
                return [Heard(slot, message)]
        return []


class _Process:
    """One worker process, its pipe and its log."""

    def __init__(
        self, slot: str, environment: Mapping[str, str], path: Sequence[str],
        receive: Callable[[BinaryIO], Any], heard: queue.SimpleQueue[Any],
    ) -> None:  # fmt: skip
        self.slot = slot
        self.busy = False
        self.tasks = 0
        self._ended: float | None = None
        self._popen = subprocess.Popen(
            [sys.executable, "-P", "-c", _MAIN, json.dumps(list(path)), str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=dict(environment), **_own_group(),
        )  # fmt: skip
        self._heard = heard
        self._receive = receive
        self.printed = Printed(self._popen.stderr)  # type: ignore[arg-type]
        threading.Thread(target=self._listen, args=(self._popen.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._popen.pid

    def send(self, message: Setup | Task | Packed) -> None:
        """Sends; a process that is gone is heard of by its silence."""
        if self._popen.stdin is None:
            raise AssertionError("the process was started with a pipe")
        with contextlib.suppress(OSError):
            send(self._popen.stdin, message)  # type: ignore[arg-type]

    def dead(self) -> bool:
        """Whether it has ended without a sign: a child of its own holds its pipe."""
        if self._popen.poll() is None:
            return False
        self._ended = self._ended or time.monotonic()
        return time.monotonic() - self._ended > _WATCH_SECONDS

    def trace(self) -> str:
        """Returns the end of what was printed, after the tracebacks of all its threads."""
        before, until = self.printed.length(), time.monotonic() + _TRACE_SECONDS
        if hasattr(signal, "SIGUSR1") and self._popen.poll() is None:
            self._popen.send_signal(signal.SIGUSR1)  # which the child answers with tracebacks
            while self.printed.length() == before and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.05)
        return self.printed.tail()

    def reason(self) -> str:
        """Says how the process ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_END_SECONDS)
        if self._popen.returncode is not None:
            self.printed.end()
        return ending(self._popen.returncode)

    def dismiss(self) -> None:
        """Closes the pipe: an idle process ends."""
        if self._popen.stdin is not None:
            with contextlib.suppress(OSError):
                self._popen.stdin.close()

    def end(self, patience: float) -> None:
        """Ends the process: at once, or after it had time to end by itself."""
        self.dismiss()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(patience)
        self._kill()
        self._popen.wait()
        self.printed.end()

    def _kill(self) -> None:
        """Ends it with all that the model's code has started."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.kill()

    def _listen(self, stream: BinaryIO) -> None:
        try:
            while True:
                self._heard.put((self, self._receive(stream)))
        except Exception:
            # The end of the pipe, or a frame that a dying process left behind: it is gone.
            self._heard.put((self, None))
        finally:
            stream.close()


def ending(code: int | None) -> str:
    """Says in a sentence how a worker process ended."""
    if code is None:
        return "the worker closed its pipe and went on: the model's code closed what is not its own"
    if code >= 0:
        return (
            f"the worker process ended with exit code {code} in the middle of it: the model's "
            "code ended the interpreter"
        )
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {
        "SIGKILL": ": most likely the system ran out of memory",
        "SIGSEGV": ": a fault in native code",
        "SIGABRT": ": native code gave up",
        "SIGBUS": ": a fault in native code, or a mapped file that shrank",
        "SIGFPE": ": an arithmetic fault in native code",
        "SIGILL": ": native code for another processor",
    }.get(name, "")
    return f"the worker process was killed by {name}{hint}"


def _own_group() -> dict[str, Any]:
    # Ctrl-C is meant for the engine: it lets workers finish their shards.
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    return {"start_new_session": True}


def _visible_devices(count: int) -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and count:
        return [part.strip() for part in visible.split(",") if part.strip()][:count]
    return [str(number) for number in range(count)]
