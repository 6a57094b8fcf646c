"""One process at a time writes a run directory: a lease with a heartbeat.

On one machine the system itself keeps the lease and lets go of it when the process ends, however
it ends. Where several machines share a folder, that may not reach from one to the other: then the
heartbeat shows whether the holder is alive.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from crucibench.util import doors
from crucibench.util.doors import storing
from crucibench.util.errors import InputError
from crucibench.util.untrusted.content import RefusedError
from crucibench.util.untrusted.json_text import parse_json

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""A holder on another machine that has not been heard of for so long is gone."""


@contextlib.contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Holds the run directory.

    Raises:
        InputError: if another process holds it.
        StorageError: if the system refuses to say so on disk.
    """
    path = root / ".lock"
    with _taken(path) as stream:
        with storing(path):
            stream.truncate(0)
            stream.write(json.dumps({"host": platform.node(), "pid": os.getpid()}).encode())
            stream.flush()
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(path, ended), daemon=True)
        heart.start()
        try:
            yield
        finally:
            ended.set()
            heart.join()
            stream.truncate(0)
            release(stream.fileno())


@contextlib.contextmanager
def _taken(path: Path) -> Iterator[BinaryIO]:
    """Opens the lock's file once it is held."""
    while True:
        doors.make_folder(path.parent)
        with doors.open_file(path, "ab+") as stream:
            held = take(stream.fileno())
            stream.seek(0)
            holder = _holder(stream.read())
            if not held or _alive_elsewhere(holder, path):
                raise InputError(
                    f"run {str(path.parent)!r} is being written by another process (pid "
                    f"{holder.get('pid', 'unknown')} on {holder.get('host', 'this machine')}); "
                    "wait for it, or stop it and run again to resume"
                )
            if _is(stream.fileno(), path):
                yield stream
                return
        # Its last holder has removed the folder: this file is not the one that others would lock.


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def take(descriptor: int) -> bool:
    """Takes the system's lock on an open file; returns False if another process has it."""
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


def release(descriptor: int) -> None:
    """Releases the lock of `take`; closing the file does so too."""
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _holder(text: bytes) -> dict[str, Any]:
    try:
        found = parse_json(text, "a lock")
    except RefusedError:
        return {}
    return found if isinstance(found, dict) else {}


def _alive_elsewhere(holder: dict[str, Any], path: Path) -> bool:
    if holder.get("host") in {None, platform.node()}:
        return False  # of this machine: it would have the system's lock
    # Both times are the file server's, so that clocks that differ do no harm.
    probe = path.with_name(".clock")
    probe.touch()
    age = probe.stat().st_mtime - path.stat().st_mtime
    doors.unlink(probe, missing_ok=True)
    return age < STALE_SECONDS
