"""The append-only log of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from crucibench.util import doors
from crucibench.util.doors import storing
from crucibench.util.untrusted.content import RefusedError, read_content
from crucibench.util.untrusted.json_text import parse_json

LOG_AT_MOST = 256 << 20
"""Bytes of a log of a run that is read."""


class Events:
    """Appends one JSON line an event; a line is written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, event: str, **facts: Any) -> None:
        """Appends an event with the wall-clock time.

        Raises:
            StorageError: if the system refuses to write it.
        """
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}, default=str)
        with storing(self.path), doors.open_file(self.path, "ab") as stream:
            stream.write(line.encode() + b"\n")


class Dates(NamedTuple):
    """When a run was started first, and when the last thing happened in it.

    Seconds since 1970; None where nothing says so.
    """

    started: float | None = None
    finished: float | None = None


def logged_dates(path: Path) -> Dates:
    """Returns what a log says of a run's dates."""
    try:
        lines = read_content(path, path.name, LOG_AT_MOST).splitlines()
    except RefusedError:
        return Dates()
    return Dates(_time(lines[0]), _time(lines[-1])) if lines else Dates()


def _time(line: bytes) -> float | None:
    try:
        return float(parse_json(line, "")["time"])
    except (RefusedError, ValueError, LookupError, TypeError):
        return None  # its writer was killed
