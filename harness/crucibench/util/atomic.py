"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crucibench.util import doors
from crucibench.util.doors import storing


def write_atomically(path: Path, write: Callable[[Path], None], *, durable: bool = True) -> None:
    """Lets `write` fill a temporary file beside `path`, syncs it to disk and renames it.

    A reader, or a process killed at any instant, finds the old file or the new one.

    Args:
        path: the file.
        write: takes the temporary file.
        durable: whether it is synced, so that it outlives a loss of power too.

    Raises:
        StorageError: if the system refuses; then the old file is as it was.
    """
    # No two processes have one name, on however many machines that share the folder.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with storing(path):
        doors.make_folder(path.parent)
        try:
            write(temporary)
            if durable:
                with temporary.open("rb+") as stream:
                    doors.fsync(stream.fileno())
            doors.replace(temporary, path)
        finally:
            doors.unlink(temporary, missing_ok=True)
        if durable:
            _sync_folder(path.parent)


def remove_leftovers(folder: Path) -> None:
    """Removes what processes that were killed have left half written in a folder and below."""
    for path in folder.rglob(".*.tmp"):
        doors.unlink(path, missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Writes `text` as UTF-8 with line feeds, atomically; see `write_atomically`."""

    def write(temporary: Path) -> None:
        doors.write_bytes(temporary, text.encode())

    write_atomically(path, write, durable=durable)


def write_json(path: Path, data: Any) -> None:
    """Writes `data` as indented JSON with sorted keys, atomically."""
    text = json.dumps(data, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def _sync_folder(folder: Path) -> None:
    # A rename is durable once its folder is; Windows can't open folders and needs no such step.
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        doors.fsync(descriptor)
    finally:
        os.close(descriptor)
