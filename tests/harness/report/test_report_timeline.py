"""The timeline of made-up logs whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucibench.report.timeline import timeline
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError

BEGUN = 1_800_000_000.0
Line = tuple[float, str, dict[str, Any]]
Read = Callable[..., SimpleNamespace]


def started(time: float, **facts: Any) -> Line:
    return time, "started", {"cells": 2, "executor": "local", "workers": 2, **facts}


def cell_started(time: float, cell: str) -> Line:
    facts = {"model": cell, "data": "wine", "scenario": "pass/test", "samples": 4}
    return time, "cell-started", {"cell": cell, **facts}


def task(begun: float, seconds: float, cell: str, worker: str = "local-1", **facts: Any) -> Line:
    spent = {"begun": BEGUN + begun, "seconds": seconds, "kind": "shard", "worker": worker}
    return begun + seconds, "task", {"cell": cell, **spent, **facts}


def settled(time: float, cell: str, status: str = "ok", verdict: str | None = "valid") -> Line:
    return time, "cell", {"cell": cell, "status": status, "verdict": verdict}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Returns a reader of the timeline of a run with a made-up log."""

    def of(*lines: Line, end: str = "", finished: bool = False) -> SimpleNamespace:
        run = Run(tmp_path / "3f2a")
        run.root.mkdir()
        texts = [
            json.dumps({"time": BEGUN + time, "event": event, **facts})
            for time, event, facts in lines
        ]
        run.layout.events.write_text("\n".join([*texts, end]), encoding="utf-8")
        if finished:
            run.layout.manifest.touch()
        return json.loads(json.dumps(timeline(run)), object_hook=lambda x: SimpleNamespace(**x))

    return of


def test_cells_that_overlap(read: Read) -> None:
    times = read(
        started(0),
        cell_started(1, "a"),
        cell_started(1, "b"),
        task(1, 4, "a"),
        task(2, 4, "b", "local-2"),
        task(5, 2, "a"),
        settled(8, "a"),
        task(6, 2, "b", "local-1"),
        settled(9, "b", verdict="suspect"),
        (10, "finished", {}),
    )
    a, b = times.cells
    assert (a.cell, a.model, a.data, a.scenario) == ("a", "a", "wine", "pass/test")
    assert (a.start, a.end, a.busy, a.tasks, a.workers) == (1, 8, 6, 2, ["local-1"])
    assert (b.start, b.end, b.busy, b.workers) == (1, 9, 6, ["local-1", "local-2"])
    assert (b.status, b.verdict) == ("ok", "suspect")
    (attempt,) = times.attempts
    assert (attempt.start, attempt.end, attempt.ended) == (0, 10, "finished")
    assert attempt.busy == 12
    assert (times.begun, times.seconds, times.running_seconds) == (BEGUN, 10, 10)


def test_cells_stand_in_order_of_their_start(read: Read) -> None:
    times = read(
        started(0), task(5, 1, "late"), task(1, 1, "early"), settled(3, "early"), task(2, 1, "late")
    )
    assert [(cell.cell, cell.start) for cell in times.cells] == [("early", 1), ("late", 2)]


def test_two_attempts_and_what_lies_between(read: Read) -> None:
    times = read(
        started(0),
        cell_started(0, "a"),
        task(0, 4, "a"),
        settled(5, "a"),
        cell_started(5, "b"),
        task(6, 2, "b"),
        (10, "interrupted", {}),
        started(100, workers=4, resumed=True),
        cell_started(100, "a"),  # nothing is left of it to ask: it is read and scored again
        (101, "task", {"cell": "a", "kind": "score", "begun": BEGUN + 100, "seconds": 1}),
        settled(101, "a"),
        cell_started(101, "b"),
        task(102, 3, "b", "local-3"),
        settled(106, "b"),
        (110, "finished", {}),
    )
    a, b = times.cells
    assert (a.start, a.end, a.busy, a.tasks) == (0, 5, 4, 1)
    assert (b.start, b.end, b.busy, b.workers) == (5, 106, 5, ["local-1", "local-3"])
    first, second = times.attempts
    assert (first.ended, first.workers, first.busy) == ("interrupted", 2, 6)
    assert (second.start, second.end, second.ended, second.workers) == (100, 110, "finished", 4)
    assert second.busy == 3, "scoring is not the workers' time"
    assert (times.seconds, times.running_seconds) == (110, 20)


def test_a_killed_attempt_and_one_that_goes_on(read: Read) -> None:
    times = read(
        started(0), cell_started(1, "a"), task(1, 2, "a"),
        started(20), cell_started(21, "a"), task(21, 1, "a"),
    )  # fmt: skip
    (cell,) = times.cells
    assert (cell.status, cell.verdict, cell.end, cell.start, cell.busy) == (None, None, None, 1, 3)
    assert [attempt.ended for attempt in times.attempts] == ["broken off", "open"]
    assert [(attempt.start, attempt.end) for attempt in times.attempts] == [(0, 3), (20, 22)]


def test_a_cell_that_failed_is_tried_again_by_the_next_attempt(read: Read) -> None:
    times = read(
        started(0), task(0, 1, "a"), settled(2, "a", "failed", None), (2, "finished", {}),
        started(10), cell_started(10, "a"), task(10, 1, "a"), settled(12, "a"),
        (12, "finished", {}),
    )  # fmt: skip
    (cell,) = times.cells
    assert (cell.status, cell.verdict, cell.end, cell.tasks) == ("ok", "valid", 12, 2)


@pytest.mark.parametrize("torn", ['{"time": 18000000', '{"time": 1800000000.0, "event": "sta', "{"])
def test_a_torn_last_line(read: Read, torn: str) -> None:
    times = read(started(0), task(0, 2, "a"), end=torn)
    assert times.unreadable_lines == 1
    assert times.seconds == 2


def test_what_was_appended_to_a_torn_line_counts(read: Read) -> None:
    again = json.dumps({"time": BEGUN + 50, "event": "started", "workers": 1})
    times = read(started(0), task(0, 2, "a"), end='{"time": 1800000002.5, "eve' + again + "\n")
    assert times.unreadable_lines == 1
    assert [(attempt.start, attempt.ended) for attempt in times.attempts] == [
        (0, "broken off"), (50, "open"),
    ]  # fmt: skip


def test_unknown_events_and_odd_values_do_no_harm(read: Read) -> None:
    times = read(
        started(0, workers="many", executor=None),
        (1, "eclipse", {"moon": "new"}),
        (1, "cell-painted", {"cell": "a", "colour": "red"}),
        (2, "task", {"cell": "b", "seconds": "long", "begun": None}),
        (3, "task", {"cell": ["not", "a", "name"]}),
        (4, "finished", {}),
    )
    b = next(cell for cell in times.cells if cell.cell == "b")
    assert (b.start, b.busy, b.workers) == (2, 0, [])
    (attempt,) = times.attempts
    assert (attempt.workers, attempt.executor) == (None, None)


def test_cached_retried_skipped_and_lost(read: Read) -> None:
    times = read(
        started(0),
        cell_started(1, "kept"),
        (1, "cached", {"cell": "kept"}),
        settled(2, "kept"),
        cell_started(2, "again"),
        (4, "worker", {"worker": "local-2", "state": "crashed", "reason": "signal 11"}),
        (4, "retried", {"cell": "again", "attempt": 1, "reason": "signal 11"}),
        task(4, 2, "again"),
        settled(7, "again"),
        settled(7, "left out", "skipped", None),
        (8, "worker", {"worker": "local-1", "state": "ended", "reason": ""}),
        (8, "finished", {}),
    )
    kept, again = times.cells
    assert (kept.cached, kept.tasks, kept.busy, kept.start, kept.end) == (True, 0, 0, 1, 2)
    assert (again.cached, again.retries, again.tasks) == (False, 1, 1)
    assert times.skipped_cells == 1
    (loss,) = times.workers_lost
    assert (loss.time, loss.worker, loss.state, loss.reason) == (
        4, "local-2", "crashed", "signal 11",
    )  # fmt: skip


def test_a_log_without_tasks_says_when_cells_were_settled(read: Read) -> None:
    times = read((0, "started", {"cells": 2}), settled(1, "a"), settled(3, "b"), finished=True)
    assert [(cell.cell, cell.start, cell.end, cell.busy) for cell in times.cells] == [
        ("a", None, 1, None), ("b", None, 3, None),
    ]  # fmt: skip
    assert times.attempts[0].ended == "finished"


def test_clocks_of_other_machines_and_clocks_put_back(read: Read) -> None:
    ahead = (4.0, "task", {"cell": "a", "begun": BEGUN + 900, "seconds": 3, "worker": "ray-1"})
    times = read(started(0), ahead, task(1, 5, "b"), settled(-60, "b"), (7, "finished", {}))
    a = next(cell for cell in times.cells if cell.cell == "a")
    assert (a.start, a.busy) == (1, 3)
    assert times.seconds == 7


def test_no_log(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(UnreadableError, match=r"events\.jsonl.* can't be read"):
        timeline(run)
    run.layout.events.touch()
    with pytest.raises(UnreadableError, match="has no log"):
        timeline(run)
    run.packed = True
    with pytest.raises(InputError, match="a pack holds no times"):
        timeline(run)
