"""One worker process of this machine: its pipes, what it prints, how it rests and how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from crucibench.engine.executors.child import send
from crucibench.engine.executors.zygote import Child, Zygote

_MAIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from crucibench.engine.executors.child import main; main(int(sys.argv[2]))"
)
WATCH_SECONDS = 0.25
_TRACE_SECONDS = 1.0
_END_SECONDS = 5.0
_FAULTS = {
    getattr(signal, name)
    for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL", "SIGTRAP", "SIGSYS")
    if hasattr(signal, name)
}
"""What a fault in a process's own code raises."""


class Process:
    """One worker process.

    Attributes:
        owner: whose it is (`tasks.owner_of`); "" as long as no user's code has run in it.
        slot: whose task it does, or did last.
        busy: whether it does one.
        in_use: whether later tasks need what earlier ones left in it.
        tasks: how many it was given.
        silent_since: when the task was given that nothing has been heard of yet; else None.
        printed: what it printed.
    """

    def __init__(
        self, environment: Mapping[str, str], path: Sequence[str], zygote: Zygote | None,
        receive: Callable[[BinaryIO], Any], heard: queue.SimpleQueue[Any],
    ) -> None:  # fmt: skip
        self.owner = self.slot = ""
        self.busy = self.in_use = False
        self.tasks = 0
        self.silent_since: float | None = None
        self._ended: float | None = None
        self._resting = False

        def spawn(ends: Sequence[int]) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [sys.executable, "-P", "-c", _MAIN, json.dumps(list(path)), str(os.getpid())],
                stdin=ends[0], stdout=ends[1], stderr=ends[2], env=dict(environment),
                **_own_group(),
            )  # fmt: skip

        self._child = Child(spawn)
        if zygote is None:
            self._child.start_alone()
        else:
            zygote.fork(self._child)
        self._heard = heard
        self._receive = receive
        self.printed = Printed(self._child.stderr)
        threading.Thread(target=self._listen, args=(self._child.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        """The process."""
        return self._child.pid

    def send(self, message: Any) -> None:
        """Sends a message; that the process is gone shows when nothing comes back."""
        with contextlib.suppress(OSError, ValueError):
            send(self._child.stdin, message)

    def rest(self) -> None:
        """Suspends an idle process, with all that the model's code has started in it.

        It takes no processor time from the model whose turn it is until it is woken.

        On Linux alone: elsewhere a held process would outlive an engine that is killed.
        """
        if not self._resting and sys.platform == "linux":
            self._resting = self._signal_all("SIGSTOP")

    def wake(self) -> None:
        """Resumes a suspended process."""
        if self._resting:
            self._signal_all("SIGCONT")
            self._resting = False

    def dead(self) -> bool:
        """Whether it has ended without a sign: a child of its own holds its pipe."""
        if self._child.poll() is None:
            return False
        self._ended = self._ended or time.monotonic()
        return time.monotonic() - self._ended > WATCH_SECONDS

    def trace(self) -> str:
        """Returns the end of what was printed, after the tracebacks of all its threads."""
        before, until = self.printed.length(), time.monotonic() + _TRACE_SECONDS
        if hasattr(signal, "SIGUSR1") and self._child.poll() is None:
            self._child.send_signal(signal.SIGUSR1)  # which it answers with tracebacks
            while self.printed.length() == before and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(0.05)
        return self.printed.tail()

    def reason(self) -> str:
        """Returns how the process ended, as a sentence."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(_END_SECONDS)
        if self._child.returncode is not None:
            self.printed.end()
        return ending(self._child.returncode)

    @property
    def killed(self) -> bool:
        """Whether a signal has ended the process that no fault in its own code raises."""
        code = self._child.returncode
        return code is not None and code < 0 and -code not in _FAULTS

    def dismiss(self) -> None:
        """Closes the pipe: an idle process that does not rest ends."""
        with contextlib.suppress(OSError):
            self._child.stdin.close()

    def end(self, patience: float = 0.0) -> None:
        """Ends the process: at once, or after it had time to end by itself."""
        self.dismiss()
        if patience and not self._resting:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
        self._signal_all("SIGKILL")
        self._child.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
        self._child.wait()
        self.printed.end()

    def _signal_all(self, name: str) -> bool:
        """Sends a signal to it and all that the model's code has started, where the system can."""
        if not hasattr(os, "killpg"):
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, getattr(signal, name))
            return True
        return False

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
    """Returns how a worker process ended, as a sentence."""
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


_PART = 1 << 19
_CHUNK = 1 << 16
_TAIL = 4000
_AT_ONCE = 64
_DRAIN_SECONDS = 1.0
# Faulthandler adds the names of all loaded libraries to a traceback: thousands of letters.
_MODULES = re.compile(rb"^Extension modules: .*\n?", re.MULTILINE)


class Printed:
    """Reads a pipe as fast as it is filled, and keeps half a mebibyte from each end.

    Whoever prints is never held up, and nothing is written to disk.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Takes the pipe; it is closed when nobody writes to it any more."""
        self._stream = stream
        self._descriptor = stream.fileno()
        self._lock = threading.Lock()
        self._over = False
        self._drop()
        if os.name != "nt":
            os.set_blocking(self._descriptor, False)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def take(self) -> bytes:
        """Returns what was printed since the last time, and drops it."""
        self._read()
        with self._lock:
            content = self._content()
            self._drop()
        return content

    def tail(self) -> str:
        """Returns the end of what `take` would return."""
        self._read()
        with self._lock:
            content = self._content()
        return content[-_TAIL:].decode("utf-8", "replace").strip()

    def length(self) -> int:
        """Returns how many bytes have come since the last `take`."""
        self._read()
        with self._lock:
            return len(self._first) + self._left_out + len(self._last)

    def end(self) -> None:
        """Waits a moment for the end of the pipe, which a child of the process may hold open."""
        self._thread.join(_DRAIN_SECONDS)

    def _drop(self) -> None:
        self._first = b""
        self._last = bytearray()
        self._left_out = 0

    def _content(self) -> bytes:
        between = b"\n... left out ...\n" if self._left_out else b""
        return _MODULES.sub(b"", self._first + between + bytes(self._last))

    def _keep(self, chunk: bytes) -> None:
        room = _PART - len(self._first)
        self._first += chunk[:room]
        self._last += chunk[room:] if room < len(chunk) else b""
        if (beyond := len(self._last) - _PART) > 0:
            del self._last[:beyond]
            self._left_out += beyond

    def _read(self) -> bool:
        """Reads what is there; returns whether more may come."""
        if os.name == "nt":  # a pipe can't be looked at: what comes late is returned the next time
            return True
        with self._lock:
            for _ in range(_AT_ONCE):  # no longer, even if the other end never pauses
                if self._over:
                    return False
                try:
                    chunk = os.read(self._descriptor, _CHUNK)
                except BlockingIOError:
                    return True
                except OSError:
                    chunk = b""
                self._keep(chunk)
                self._over = not chunk
        return True

    def _listen(self) -> None:
        try:
            if os.name == "nt":
                while chunk := os.read(self._descriptor, _CHUNK):
                    with self._lock:
                        self._keep(chunk)
                return
            with selectors.DefaultSelector() as selector:
                selector.register(self._descriptor, selectors.EVENT_READ)
                while self._read():
                    selector.select()
        finally:
            with self._lock:
                self._over = True
            self._stream.close()
