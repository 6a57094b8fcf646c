"""The append-only log of a run."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from crucibench.util.atomic import storing


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
        with storing(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
