"""When each cell of a run was under way, by the run's log.

All times are seconds since the first line of the log. The log is written while the run goes on, by
processes that may be killed: a last line may be torn, and events that this version does not know
may stand between the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crucibench.report.findings import address_of
from crucibench.store.events import LOG_AT_MOST
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.untrusted.content import RefusedError, read_content
from crucibench.util.untrusted.json_text import parse_json

ATTEMPT = ("attempt", "start", "end", "ended", "executor", "workers", "busy")
CELL = (
    "cell", "model", "data", "scenario", "start", "end", "busy", "workers", "tasks", "retries",
    "cached", "status", "verdict",
)  # fmt: skip
LOSS = ("worker", "time", "state", "reason")

_LINE_START = '{"time"'
_LOSSES = frozenset({"lost", "killed", "crashed"})
_OWN = frozenset({"derive", "score"})
"""What the process does that holds the run, and no worker."""


def timeline(run: Run) -> dict[str, Any]:
    """Returns the attempts of a run and when each cell was under way, as plain data.

    An attempt is from one start of the command to its end; ``ended`` says how: ``finished``,
    ``interrupted``, ``stopped`` (by an error), ``broken off`` (the log has no end, as after a
    kill), or ``open`` (likewise, and it may still be under way). A cell's ``busy`` are the seconds
    of all its tasks together, None where the log holds no tasks at all; an attempt's are those of
    its workers. What the log does not say is None.

    Raises:
        InputError: if the run is a pack, which holds no times.
        UnreadableError: if the run has no log, or one without a readable line.
    """
    if run.packed:
        raise InputError("a pack holds no times: ask the run that it was made of")
    events, torn = read_log(run.layout.events)
    if not events:
        raise UnreadableError(f"run {run.id} has no log ({str(run.layout.events)!r} is empty)")
    begun = float(events[0]["time"])
    attempts: list[dict[str, Any]] = []
    cells: dict[str, dict[str, Any]] = {}
    losses = []
    for event in events:
        # A clock that was put back must not turn times around.
        time, kind = max(0.0, float(event["time"]) - begun), event["event"]
        if kind == "started" or not attempts:
            workers = _as_number(event.get("workers"))
            attempts.append(
                dict(zip(ATTEMPT, (len(attempts) + 1, time, time, "broken off",
                                   event.get("executor"), workers and int(workers), 0.0),
                         strict=True))
            )  # fmt: skip
        attempt = attempts[-1]
        attempt["end"] = max(attempt["end"], time)
        if kind in ("finished", "interrupted", "stopped"):
            attempt["ended"] = kind
        elif kind == "worker" and event.get("state") in _LOSSES:
            losses.append({**{name: event.get(name) for name in LOSS}, "time": time})
        elif isinstance(name := event.get("cell"), str):
            cell = cells.setdefault(name, _new_cell(run, name))
            if kind == "task":
                _add_task(cell, attempt, event, time, begun)
            else:
                _add_event(cell, attempt, event, time)
    if attempts[-1]["ended"] == "broken off":
        attempts[-1]["ended"] = "finished" if run.finished else "open"
    logged = any(cell["tasks"] for cell in cells.values())
    shown = [cell for cell in cells.values() if cell["status"] != "skipped"]
    # A log without starts still says in which order cells were settled.
    shown.sort(key=lambda cell: _first(cell["start"], cell["end"]))
    return {
        "run": run.id,
        "begun": begun,
        "seconds": max(attempt["end"] for attempt in attempts),
        "running_seconds": sum(attempt["end"] - attempt["start"] for attempt in attempts),
        "attempts": list(map(_rounded, attempts)),
        "cells": [
            _rounded({name: cell[name] for name in CELL})
            | {"workers": sorted(cell["workers"]), **({} if logged else {"busy": None})}
            for cell in shown
        ],
        "workers_lost": losses,
        "skipped_cells": len(cells) - len(shown),
        "unreadable_lines": torn,
    }  # fmt: skip


def _new_cell(run: Run, name: str) -> dict[str, Any]:
    cell: dict[str, Any] = dict.fromkeys(CELL)
    if (file := run.cells.get(name)) is not None:
        cell |= {"model": file.model, "data": file.data, "scenario": address_of(file)}
    counts = {"busy": 0.0, "workers": set(), "tasks": 0, "retries": 0, "cached": False}
    return cell | counts | {"cell": name, "settled": 0}


def _add_task(
    cell: dict[str, Any], attempt: dict[str, Any], event: Mapping[str, Any], time: float,
    begun: float,
) -> None:  # fmt: skip
    own = event.get("kind") in _OWN
    if _is_read_again(cell, attempt, asked=not own):
        return
    seconds = max(0.0, _as_number(event.get("seconds")) or 0.0)
    started = _as_number(event.get("begun"))
    # The clock of another machine may be ahead: no task ends after it was reported.
    start = time - seconds if started is None else min(time - seconds, started - begun)
    start = max(start, attempt["start"])
    cell["start"] = start if cell["start"] is None else min(cell["start"], start)
    cell["busy"] += seconds
    cell["tasks"] += 1
    if not own:
        attempt["busy"] += seconds
        cell["workers"] |= {str(event["worker"])} if event.get("worker") is not None else set()


def _add_event(
    cell: dict[str, Any], attempt: dict[str, Any], event: Mapping[str, Any], time: float
) -> None:
    kind = event["event"]
    cell["retries"] += kind == "retried"
    if _is_read_again(cell, attempt, asked=kind == "cached"):
        return
    if kind == "cell-started":
        facts = {name: event.get(name) for name in ("model", "data", "scenario")}
        cell |= {name: fact for name, fact in facts.items() if cell[name] is None}
    if kind == "cached":
        cell["cached"] = True
    if kind in {"cell-started", "cached"} and cell["start"] is None:
        cell["start"] = time
    if kind == "cell":
        cell |= {"status": event.get("status"), "verdict": event.get("verdict"), "end": time}
        cell["settled"] = attempt["attempt"]


def _is_read_again(cell: dict[str, Any], attempt: dict[str, Any], *, asked: bool) -> bool:
    """Whether a cell was settled by an earlier attempt, and this one only reads it again."""
    if cell["settled"] in {0, attempt["attempt"]}:
        return False
    if asked:
        cell |= {"settled": 0, "status": None, "verdict": None, "end": None}
    return not asked


def _rounded(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: round(one, 3) if isinstance(one, float) else one for key, one in facts.items()}


def _first(*times: float | None) -> float:
    return next((time for time in times if time is not None), 0.0)


def read_log(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Returns the events of a log, and how many lines can't be read.

    Raises:
        UnreadableError: if there is no such file.
    """
    try:
        content = read_content(path, str(path), LOG_AT_MOST).decode(errors="replace")
    except RefusedError as error:
        raise UnreadableError(f"log {str(path)!r} can't be read: {error.sentence}") from error
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
        event = parse_json(text, "")
    except RefusedError:
        return None
    known = isinstance(event, dict) and _as_number(event.get("time")) is not None
    return event if known and isinstance(event.get("event"), str) else None


def _as_number(value: Any) -> float | None:
    """Returns a value of an event that is a number; None if it is anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value)
