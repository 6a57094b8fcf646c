"""One error at one door of `crucibench.util.doors`, in whichever process of a run comes to it.

A *point* is the process's part (engine, zygote, worker), the door, the file and how often that
process had come there before: ``engine rename results/RUN/manifest.json 1``. Temporary names are
told without what is drawn in them, so that points are the same in each run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from crucibench.engine.executors import zygote
from crucibench.util import doors

DOORS = (
    *("open_file", "write", "fsync", "replace", "rename", "unlink", "make_folder"),
    *("remove_folder", "fork", "pipe", "socket_pair", "send_descriptors"),
)
ERRORS = ("ENOSPC", "EIO", "EINTR", "EMFILE", "ENOMEM")
KILLS = ("a kill before", "a kill after")
SHORT = "a short write"
WORKERS = "a kill of the workers"
_DRAWN = re.compile(r"[0-9a-f]{32}")


def kinds_of(point: str) -> tuple[str, ...]:
    """Returns the faults that a point can have."""
    part, door, *_ = point.split()
    more = (SHORT,) if door == "write" else ()
    return (*ERRORS, *KILLS, *more, *((WORKERS,) if part == "engine" else ()))


@dataclass
class Faults:
    """What becomes of this process's calls.

    Attributes:
        folder: of the case; points name files relative to it.
        noted: a file to which each point is added; None for none.
        point: where the fault is.
        kind: which it is.
        marker: a file that is made when it happens: it happens once, in one process.
        part: of the run that this process is.
        forked_from: the process that workers are forked from, once there is one.
    """

    folder: Path
    noted: Path | None = None
    point: str = ""
    kind: str = ""
    marker: Path | None = None
    part: str = "engine"
    forked_from: int = 0

    def install(self) -> None:
        """Puts itself before every door, of this process and of those that it forks."""
        self._counts: Counter[str] = Counter()
        for name in DOORS:
            setattr(doors, name, self._watched(name, getattr(doors, name)))
        zygote.subprocess = _Forking(self)  # type: ignore[attr-defined]

    def _watched(self, name: str, door: Callable[..., Any]) -> Callable[..., Any]:
        def called(*given: Any, **named: Any) -> Any:
            happens = self._reached(name, given)
            if happens and self.kind == "a kill before":
                os.kill(os.getpid(), signal.SIGKILL)
            if happens and self.kind == WORKERS:
                self._kill_workers()
            if happens and self.kind in ERRORS and named.get("ignore_errors"):
                return None
            if happens and self.kind in ERRORS:
                number = getattr(errno, self.kind)
                raise OSError(number, os.strerror(number))
            if happens and self.kind == SHORT:
                half = memoryview(given[1]).cast("B")[: max(1, memoryview(given[1]).nbytes // 2)]
                return door(given[0], half)
            found = door(*given, **named)
            if happens and self.kind == "a kill after":
                os.kill(os.getpid(), signal.SIGKILL)
            if name == "fork" and found == 0:
                self.part = "zygote" if self.part == "engine" else "worker"
                self._counts.clear()
            elif name == "fork" and self.part == "engine":
                self.forked_from = found
            return found

        return called

    def _kill_workers(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(self.forked_from).children() if self.forked_from else ():
                worker.kill()

    def _reached(self, name: str, given: tuple[Any, ...]) -> bool:
        place = f"{self.part} {name} {self._file(given)}"
        self._counts[place] += 1
        point = f"{place} {self._counts[place]}"
        if self.noted is not None:
            append(self.noted, point)
        if point != self.point or self.marker is None:
            return False
        try:
            os.close(os.open(self.marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False  # another worker was here first
        return True

    def _file(self, given: tuple[Any, ...]) -> str:
        if not given or isinstance(given[0], socket.socket):
            return "-"
        first = given[-1] if len(given) == 2 and isinstance(given[-1], Path) else given[0]
        path = first if isinstance(first, Path) else Path(f"/proc/self/fd/{first}").readlink()
        relative = os.path.relpath(path, self.folder)
        return _DRAWN.sub("DRAWN", relative).replace(" ", "_")


def append(path: Path, line: str) -> None:
    """Adds a line to a file, whoever else does."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode() + b"\n")
    os.close(descriptor)


class _Forking:
    """Stands for `subprocess` where the process that is forked is started: it is a fork too."""

    DEVNULL, TimeoutExpired = subprocess.DEVNULL, subprocess.TimeoutExpired

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def Popen(self, command: list[str], **named: Any) -> _Forked:  # noqa: N802
        if "zygote" not in command[3]:
            return subprocess.Popen(command, **named)  # type: ignore[return-value]
        parent, (descriptor,) = os.getpid(), named["pass_fds"]
        pid = os.fork()
        if pid:
            self._faults.forked_from = pid
            return _Forked(pid)
        try:
            self._faults.part = "zygote"
            self._faults._counts.clear()
            os.environ.update(named["env"])
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nothing, stream)
            kept = os.dup(descriptor)  # the engine's own end is closed by closing all others
            os.closerange(3, kept)
            zygote.main(parent, kept, ())
        finally:
            os._exit(1)


class _Forked:
    """A forked process as `subprocess` shows one."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        until = time.monotonic() + (timeout or 1e9)
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired("zygote", timeout or 0.0)
            time.sleep(0.002)
        return code
