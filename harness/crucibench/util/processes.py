"""The first steps of a process that works for another: its streams, and when it is to end."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from pathlib import Path
from typing import BinaryIO


def private_streams() -> tuple[BinaryIO, BinaryIO, int]:
    """Returns what was standard input and output, and the log, which models print to from now."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a crash loses no line, no letter is refused
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    return inbox, outbox, os.dup(2)


def die_with(parent: int, by: str = "SIGKILL") -> None:
    """Lets the system end this process when the engine's ends, even if it is stuck.

    Args:
        parent: the engine's process.
        by: the signal that it is sent then.
    """
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides what Ctrl-C means
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(getattr(signal, by)), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def adopt_orphans() -> None:
    """Makes this process the parent of all descendants that outlive their own parents."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)


def end_children(seconds: float) -> None:
    """Kills the children of this process, and those it adopts thereby, for at most `seconds`."""
    until = time.monotonic() + seconds
    while (children := _children()) and time.monotonic() < until:
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.001)


def _children() -> list[int]:
    own, found = os.getpid(), []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = file.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[1]) == own:
                found.append(int(file.parent.name))
    return found
