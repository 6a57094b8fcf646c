"""A process that imports what workers need, once, and is forked for each of them.

Starting a worker so takes hundredths of a second, not seconds. A fork copies one thread alone: what
other threads held locked stays locked for ever. So this process runs no operator, starts no thread,
touches no accelerator, and never runs the user's code or reads what was pickled; if there is a
second thread all the same, it refuses, and workers are started without a fork.

It is itself a fork of the engine's process, with all that is imported there, where that has one
thread and no torch, as under the command line (`quiet_libraries`); else it is started anew.

What a model's code has started and left (a daemon in a session of its own) becomes a child of this
process, and is ended with it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from crucibench.util import doors
from crucibench.util.processes import adopt_orphans, die_with, end_children

_MAIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from crucibench.engine.executors.zygote import main; "
    "main(int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))"
)
# Some libraries start a thread when they are loaded, unless these variables tell them not to. The
# variables are removed in workers: `set_threads` gives OpenBLAS its threads there.
_QUIET = {"OPENBLAS_NUM_THREADS": "1", "JE_ARROW_MALLOC_CONF": "background_thread:false"}
_USUAL = ("pyarrow", "pandas", "crucibench.engine.worker.worker")
_MESSAGE = 1 << 12
_END_SECONDS = 2.0


def can_fork() -> bool:
    """Whether this system starts workers by forking: not where an accelerator may be used."""
    return sys.platform == "linux" and not Path("/dev/nvidiactl").exists()


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keeps libraries that are imported from starting threads: this process can be forked then.

    `set_threads` gives OpenBLAS its threads once the fork is made. Nothing is collected meanwhile,
    for what is imported stays.
    """
    before = dict(os.environ)
    os.environ.update(_QUIET)
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        for name in _QUIET:
            os.environ.pop(name, None)
        os.environ.update({name: before[name] for name in _QUIET.keys() & before.keys()})


class Child:
    """A process that is asked for: its pipes are there at once, the process itself follows.

    Attributes:
        stdin: what is written to it.
        stdout: what it answers.
        stderr: what it prints.
        returncode: its exit status, below 0 for a signal; None while it runs.
        far_ends: what becomes its standard input, output and error.
    """

    def __init__(self, spawn: Callable[[Sequence[int]], subprocess.Popen[bytes]]) -> None:
        """Makes the pipes; `spawn` starts the process without a fork."""
        (own_in, to), (out, own_out), (err, own_err) = doors.pipe(), doors.pipe(), doors.pipe()
        self.stdin = os.fdopen(to, "wb")
        self.stdout = os.fdopen(out, "rb")
        self.stderr = os.fdopen(err, "rb")
        self.returncode: int | None = None
        self.far_ends = [own_in, own_out, own_err]
        self._spawn = spawn
        self._popen: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._there, self._over = threading.Event(), threading.Event()

    @property
    def pid(self) -> int:
        """The process, once it is there."""
        self._there.wait()
        return self._pid

    def poll(self) -> int | None:
        """Returns the exit status, None while it runs."""
        if self._popen is not None:
            self.returncode = self._popen.poll()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Waits for its end.

        Raises:
            subprocess.TimeoutExpired: if it still runs then.
        """
        self._there.wait(timeout)
        if self._popen is not None:
            self.returncode = self._popen.wait(timeout)
        elif not self._over.wait(timeout):
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def start_alone(self) -> None:
        """Starts it as a process of its own, without a fork."""
        self._popen = self._spawn(self.far_ends)
        self.started(self._popen.pid)

    def started(self, pid: int) -> None:
        """Notes its process id, and closes this process's copies of its ends of the pipes."""
        self._pid = pid
        for descriptor in self.far_ends:
            os.close(descriptor)
        self.far_ends = []
        self._there.set()

    def ended(self, returncode: int) -> None:
        """Notes its exit status."""
        self.returncode = returncode
        self._over.set()


class Zygote:
    """The engine's handle on the process that is forked."""

    def __init__(
        self, environment: Mapping[str, str], path: Sequence[str], libraries: Sequence[str] = ()
    ) -> None:
        """Starts it; it imports while the engine goes on.

        Args:
            environment: of the workers.
            path: where they find modules.
            libraries: modules that the run's models need, to be imported beside the usual ones.
        """
        ours, theirs = doors.socket_pair()
        own, needed, quiet = os.getpid(), [*_USUAL, *libraries], dict(environment) | _QUIET
        self._started: subprocess.Popen[bytes] | None = None
        with theirs:
            if list(path) == sys.path and "torch" not in sys.modules and _alone():
                self._pid = doors.fork()
                if not self._pid:
                    _begin_anew(theirs.fileno(), quiet)
                    main(own, theirs.fileno(), needed)
            else:
                arguments = [json.dumps(list(path)), str(own), str(theirs.fileno())]
                self._started = subprocess.Popen(
                    [sys.executable, "-P", "-c", _MAIN, *arguments, json.dumps(needed)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                    env=quiet, pass_fds=[theirs.fileno()], start_new_session=True,
                )  # fmt: skip
                self._pid = self._started.pid
        self._link = ours
        self._lock = threading.Lock()
        self._asked: deque[Child] = deque()
        self._running: dict[int, Child] = {}
        self._dead = self._used = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def fork(self, child: Child) -> None:
        """Lets `child` begin: as a fork, or without one where that is impossible."""
        with self._lock:
            if not self._dead:
                self._asked.append(child)
                try:
                    doors.send_descriptors(self._link, b"fork", child.far_ends)
                    return
                except OSError:
                    self._asked.remove(child)
        child.start_alone()

    def load(self, libraries: Sequence[str]) -> None:
        """Lets it import modules before it forks again."""
        with contextlib.suppress(OSError):  # it is dead, which `fork` finds out
            self._link.send(json.dumps(list(libraries)).encode())

    def close(self) -> None:
        """Ends it, and with it all that were forked, and what these have left behind."""
        if self._used:
            with contextlib.suppress(OSError):
                self._link.shutdown(socket.SHUT_WR)
                self._listener.join(2 * _END_SECONDS)  # until the other end is closed
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            if self._started is None:
                os.waitpid(self._pid, 0)
            else:
                self._started.wait()
        self._link.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while message := self._link.recv(_MESSAGE):
                self._take(json.loads(message))
        with self._lock:
            self._dead = True
            asked, running = list(self._asked), list(self._running.values())
            self._asked.clear()
        for child in asked:
            child.start_alone()
        for child in running:
            child.ended(-signal.SIGKILL)  # as they end with it

    def _take(self, message: Mapping[str, int]) -> None:
        if "ended" in message:
            self._running.pop(message["ended"]).ended(message["code"])
            return
        with self._lock:
            child = self._asked.popleft()
        if message["forked"] > 0:
            self._used = True
            self._running[message["forked"]] = child
            child.started(message["forked"])
        else:
            child.start_alone()


def main(parent: int, descriptor: int, libraries: Sequence[str]) -> None:
    """Runs in the process that is forked: imports, then forks when the engine asks for it."""
    die_with(parent)
    own, forked = os.getpid(), set[int]()
    adopt_orphans()
    link = socket.socket(fileno=descriptor)
    _load(libraries)
    signal.signal(signal.SIGTERM, lambda *_: _end())
    die_with(parent, "SIGTERM")
    waking, wake = doors.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waking, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    with selectors.DefaultSelector() as both:
        both.register(link, selectors.EVENT_READ)
        both.register(waking, selectors.EVENT_READ)
        while True:
            for key, _ in both.select():
                if key.fileobj is link:
                    ends = _asked(link)
                    if not ends:
                        continue
                    pid = _forked(ends)
                    if pid == 0:
                        break
                    if pid > 0:
                        forked.add(pid)
                    _send(link, {"forked": pid})
                else:
                    with contextlib.suppress(BlockingIOError):
                        os.read(waking, 1024)
                    _reap(link, forked)
            else:
                continue
            break
    # From here on this process is the worker.
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    link.close()
    os.close(wake)
    os.close(waking)
    _work(ends, own)


def _begin_anew(link: int, environment: Mapping[str, str]) -> None:
    """Makes a fork of the engine what a process that was started would be, but for its modules."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.closerange(3, link)
    os.closerange(link + 1, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = ["-c"]
    sys.modules["__main__"] = ModuleType("__main__")
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)


def _end() -> NoReturn:
    """Ends all children and this process: the engine has closed, or is gone."""
    end_children(_END_SECONDS)
    os._exit(0)


def _load(libraries: Sequence[str]) -> None:
    gc.disable()  # until a worker begins: what is imported stays, and looking at it takes long
    for name in libraries:
        with contextlib.suppress(Exception):  # a worker that needs it says what is wrong
            importlib.import_module(name)
    gc.freeze()  # else the collector would write to every page that is shared


def _asked(link: socket.socket) -> list[int]:
    """Returns the ends of a new process's pipes; none where modules were to be imported."""
    message, ends, _, _ = socket.recv_fds(link, _MESSAGE, 3)
    if not message:
        _end()
    if not ends:
        _load(json.loads(message))
    return ends


def _forked(ends: Sequence[int]) -> int:
    """Returns the new process, 0 in it, -1 where there must not be one."""
    pid = doors.fork() if _alone() else -1
    if pid:
        for end in ends:
            os.close(end)
    return pid


def _alone() -> bool:
    """Whether this process has one thread."""
    return len(list(Path("/proc/self/task").iterdir())) == 1


def _reap(link: socket.socket, forked: set[int]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in forked:
                forked.remove(pid)
                _send(link, {"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _send(link: socket.socket, message: Mapping[str, int]) -> None:
    with contextlib.suppress(OSError):  # the engine closes: that is heard next
        link.send(json.dumps(message).encode())


def _work(ends: Sequence[int], parent: int) -> None:
    import numpy as np

    from crucibench.engine.executors.child import main as work

    gc.enable()
    os.setsid()  # Ctrl-C is meant for the engine, and what the model starts ends with it
    for target, end in enumerate(ends):
        os.dup2(end, target)
        os.close(end)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for name in _QUIET:
        os.environ.pop(name, None)
    np.random.seed()
    try:
        work(parent)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)
