"""What a process does first that works for another one: its streams, and whom it lives with."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
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


def die_with(parent: int) -> None:
    """Lets the system end this process when the engine's ends, even if it is stuck."""
    if hasattr(signal, "SIGINT"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the engine decides what Ctrl-C means
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
