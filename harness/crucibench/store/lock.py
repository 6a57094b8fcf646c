"""One process at a time writes a run directory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from crucibench.util.errors import InputError


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Holds the run directory; the system lets go of it when the process ends, however it ends.

    Raises:
        InputError: if another process holds it.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a+", encoding="utf-8") as stream:
        if not _take(stream.fileno()):
            stream.seek(0)
            holder = stream.read().strip() or "unknown"
            raise InputError(
                f"run {str(root)!r} is being written by another process (pid {holder}); "
                "wait for it, or stop it and run again to resume"
            )
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def _take(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
