"""Reading the log of a run.

It is written while the run goes on, by processes that may be killed: a last line may be torn, and
events that this version does not know may stand between the others.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crucibench.util.errors import UnreadableError

_LINE_START = '{"time"'


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the events of a log, and how many lines can't be read.

    Raises:
        UnreadableError: if there is no such file.
    """
    try:
        content = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UnreadableError(f"log {str(path)!r} can't be read: {error.strerror}") from error
    events, torn = [], 0
    for text in content.splitlines():
        event = _event(text)
        if event is None and text.strip():
            torn += 1
            # What was appended to a torn line stands behind it, whole.
            event = _event(text[max(0, text.rfind(_LINE_START)) :])
        if event is not None:
            events.append(event)
    return events, torn


def _event(text: str) -> dict[str, Any] | None:
    try:
        event = json.loads(text)
    except ValueError:
        return None
    known = isinstance(event, dict) and as_number(event.get("time")) is not None
    return event if known and isinstance(event.get("event"), str) else None


def as_number(value: Any) -> float | None:
    """Returns a value of an event that is a number; None if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
