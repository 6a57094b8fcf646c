"""Who tells progress, and what: lines, bars, JSON lines; several cells are under way at once."""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from crucibench.cli._progress import BarProgress, JsonProgress, LineProgress, ProgressListener
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Severity, Status, Verdict
from crucibench.engine.inspect import Inspection
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.resolve.resolve import Resolved
from crucibench.store.cells import CellFile, FindingFile
from crucibench.store.layout import Layout
from crucibench.util.errors import InputError

Told = Callable[[], list[str]]


class _Pass(Mapped):
    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        raise NotImplementedError


CARD = DataCard(
    name="claims", uri="csv:claims.csv",
    task=Task(kind="classification", modality=Modality.TABLE, classes=("no", "yes")),
    counts={"test": 1000},
)  # fmt: skip
RESOLVED = cast(
    Resolved,
    SimpleNamespace(
        run_id="3f2a", spec=SimpleNamespace(defaults=SimpleNamespace(preset="quick", seed=3))
    ),
)


def planned(model: str) -> PlannedCell:
    info = ModelInfo(
        name=model, uri="sklearn:m.skops", capabilities=frozenset(), score_kind="probabilities",
        geometry={}, fingerprint=None,
    )  # fmt: skip
    return PlannedCell(
        id=f"{model}.pass", scenario=_Pass(suite="pass", name="test"), model=info, data=CARD
    )


def settled(cell: PlannedCell, **facts: Any) -> CellFile:
    return CellFile(
        cell=cell.id, kind="mapped", model=cell.model.name, data=cell.data.name,
        suite=cell.scenario.suite, scenario=cell.scenario.name, version=1, role="test", points=[""],
        n=1000, **{"status": Status.OK, "verdict": Verdict.VALID, **facts},
    )  # fmt: skip


A, B = planned("a"), planned("b")


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    """Returns a reader of the lines on stderr since it was read last; stdout stays empty."""

    def lines() -> list[str]:
        captured = capsys.readouterr()
        assert captured.out == ""
        return captured.err.splitlines()

    return lines


# lines


def test_lines_of_cells_that_interleave(told: Told, clock: Clock) -> None:
    lines = LineProgress(RESOLVED, announce=True, clock=clock)
    lines.started(A, 1000)
    clock.now += 1
    lines.started(B, 1000)
    lines.advanced(A, 500)
    clock.now += 2
    lines.advanced(B, 1000)
    lines.finished(settled(B, verdict=Verdict.SUSPECT, findings=[
        FindingFile(code="constant-prediction", severity=Severity.SUSPECT, message="m"),
        FindingFile(code="batch-noise", severity=Severity.INFO, message="m"),
    ]))  # fmt: skip
    lines.advanced(B, 1)  # told late
    clock.now += 3
    lines.retried(A.id, "the worker was killed by signal 9")
    lines.finished(settled(A))
    lines.finished(settled(planned("c"), status=Status.SKIPPED, verdict=None, reason="no role"))
    lines.stopping()
    assert told() == [
        "ok: b on claims, pass/test, 1,000 samples in 2.0 s (suspect: constant-prediction)",
        "again: a on claims, pass/test: the worker was killed by signal 9",
        "ok: a on claims, pass/test, 1,000 samples in 6.0 s",
        "skipped: c on claims, pass/test: no role",
        "stopping after the shards that are under way; Ctrl-C again stops now",
    ]


def test_long_cells_are_told_of_every_half_minute(told: Told, clock: Clock) -> None:
    lines = LineProgress(RESOLVED, announce=True, clock=clock)
    lines.started(A, 1000)
    spoken: dict[float, list[str]] = {}
    for _ in range(120 * 2):
        clock.now += 0.5
        lines.advanced(A, 2)
        if clock.now == 150:
            lines.started(B, 0)
        if clock.now % 5 == 0:
            lines.beat()
        if said := told():
            spoken[clock.now - 100] = said
    times = list(spoken)
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert all(20 <= gap <= 30 for gap in gaps), times
    assert spoken[30] == ["under way: a on claims, pass/test, 120 of 1,000 samples, after 30 s"]
    assert all(len(said) == (1 if time < 80 else 2) for time, said in spoken.items()), spoken
    assert spoken[times[-1]][1].startswith("under way: b on claims, pass/test, 0 done, after ")
    lines.advanced(A, 1)  # a later stage asks about some again: nobody knows of how many
    clock.now += 30
    lines.advanced(A, 1000)
    lines.beat()
    assert " done, after " in told()[0]
    lines.finished(settled(A))
    lines.finished(settled(B))
    told()
    clock.now += 100
    lines.beat()
    assert told() == []


def test_a_cell_that_is_silent_is_told_of_too(
    told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.cli._progress._LOOK", 0.01)
    monkeypatch.setattr("crucibench.cli._progress.Forecast", lambda *given: None)
    lines = LineProgress(RESOLVED, announce=False, clock=clock)
    said: list[str] = []
    with lines.at_work():
        lines.planned(Plan((), {}), Inspection())
        lines.started(A, 0)
        clock.now += 31
        deadline = time.monotonic() + 30
        while not (said := told()) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert said == ["under way: a on claims, pass/test, 0 done, after 31 s"]


def test_no_more_than_eight_long_cells_are_told_of(told: Told, clock: Clock) -> None:
    lines = LineProgress(RESOLVED, announce=True, clock=clock)
    for number in range(11):
        lines.started(planned(f"m{number}"), 10)
    clock.now += 30
    lines.beat()
    said = told()
    assert len(said) == 9
    assert said[0].startswith("under way: m0 on claims, pass/test, 0 of 10 samples, after 30 s")
    assert said[-1] == "under way: and 3 more"


def test_what_models_print_is_told_apart_from_the_data(told: Told) -> None:
    for listener in (ProgressListener(), LineProgress(RESOLVED, announce=True)):
        with listener.at_work():
            print("from the model")
        assert told() == ["from the model"]


# bars


def _bars(monkeypatch: pytest.MonkeyPatch) -> tuple[BarProgress, Callable[[], str]]:
    screen = Console(
        file=io.StringIO(), width=100, height=40, force_terminal=True, color_system=None,
        markup=False, highlight=False,
    )  # fmt: skip
    monkeypatch.setattr("crucibench.cli._progress.console", lambda **_: screen)
    bars = BarProgress(RESOLVED, announce=True)

    def shown() -> str:
        with screen.capture() as captured:
            screen.print(bars._board.get_renderable())
        return captured.get()

    return bars, shown


def test_bars_of_cells_that_interleave(monkeypatch: pytest.MonkeyPatch) -> None:
    bars, shown = _bars(monkeypatch)
    bars.started(A, 1000)
    bars.started(B, 0)
    bars.advanced(A, 250)
    bars.advanced(B, 3)
    bars.advanced(A, 250)
    bars.advanced(planned("never started"), 1)
    both = shown()
    assert "a on claims, pass/test" in both
    assert "500/1000" in both
    assert "3/?" in both
    bars.finished(settled(A))
    bars.advanced(A, 1)
    bars.finished(settled(A))
    after = shown()
    assert "a on claims, pass/test" not in after
    assert "b on claims, pass/test" in after
    bars.started(B, 20)  # begun anew
    assert "0/20" in shown()
    assert shown().count("b on claims") == 1


def test_bars_say_above_them_what_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    bars, _ = _bars(monkeypatch)
    screen = bars._board.console
    monkeypatch.setattr(bars._board, "start", lambda: None)  # which the first note does
    with screen.capture() as captured:
        bars.started(A, 1000)
        bars.retried(A.id, "the worker died")
        bars.stopping()
        bars.finished(settled(A))
        bars.note("reading claims")
    assert captured.get().splitlines() == [
        "again: a on claims, pass/test: the worker died",
        "stopping after the shards that are under way; Ctrl-C again stops now",
        "ok: a on claims, pass/test, 1,000 samples in 0.1 s",
    ]


# JSON lines


def _objects(lines: list[str]) -> list[dict[str, Any]]:
    objects = [json.loads(line) for line in lines]
    assert all(list(entry)[:2] == ["time", "event"] for entry in objects)
    return [{key: value for key, value in entry.items() if key != "time"} for entry in objects]


def test_progress_is_told_once_a_second_and_at_the_end(told: Told, clock: Clock) -> None:
    events = JsonProgress(RESOLVED, clock=clock)
    events.started(A, 1000)
    events.started(B, 0)
    for _ in range(49):
        clock.now += 0.125
        events.advanced(A, 20)
        events.advanced(B, 1)
    clock.now += 0.125
    events.advanced(A, 20)
    events.finished(settled(A))
    events.finished(settled(B, status=Status.FAILED, verdict=None, reason="it died"))
    begun, other, *rest = _objects(told())
    assert begun == {
        "event": "cell-started", "cell": "a.pass", "model": "a", "data": "claims",
        "scenario": "pass/test", "total": 1000,
    }  # fmt: skip
    assert other["total"] is None
    of_a = [entry for entry in rest if entry["cell"] == "a.pass"]
    assert [entry["done"] for entry in of_a[:-1]] == [160, 320, 480, 640, 800, 960, 1000]
    assert of_a[0] == {
        "event": "progress", "cell": "a.pass", "done": 160, "total": 1000,
    }  # fmt: skip
    assert of_a[-1] == {
        "event": "cell", "cell": "a.pass", "model": "a", "data": "claims", "scenario": "pass/test",
        "status": "ok", "verdict": "valid", "reason": None, "samples": 1000, "seconds": 6.25,
        "findings": [],
    }  # fmt: skip
    of_b = [entry for entry in rest if entry["cell"] == "b.pass"]
    assert [entry["done"] for entry in of_b[:-1]] == [8, 16, 24, 32, 40, 48, 49]
    assert all(entry["total"] is None for entry in of_b[:-1])
    assert (of_b[-1]["status"], of_b[-1]["reason"]) == ("failed", "it died")


def test_the_plan_as_an_event(told: Told) -> None:
    left_out = PlannedCell(
        id="b.shift", scenario=_Pass(suite="shift", name="noise"), model=B.model, data=CARD,
        skip="no gradients",
    )  # fmt: skip
    inspection = Inspection(seconds_per_sample={("a", "claims"): 0.01})
    JsonProgress(RESOLVED).planned(Plan((A, left_out), {}), inspection)
    assert _objects(told()) == [
        {
            "event": "plan", "run": "3f2a", "cells": 1, "skipped": 1, "samples": 1000,
        }
    ]  # fmt: skip


def test_indexing_is_told_once_a_second(told: Told, clock: Clock) -> None:
    events = JsonProgress(RESOLVED, clock=clock)
    for done in range(1, 31):
        clock.now += 0.125
        events.indexing("claims", done, 30)
    assert [entry["done"] for entry in _objects(told())] == [1, 9, 17, 25, 30]


def test_the_end_line_holds_exit_code_and_folder(told: Told, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "3f2a")
    end = {"event": "finished", "exit_code": 0, "run": "3f2a", "folder": None, "report": None}
    assert JsonProgress(RESOLVED).run_and_report(lambda: 0, layout) == 0
    assert _objects(told()) == [end]
    layout.root.mkdir()
    layout.report.touch()
    assert JsonProgress(RESOLVED).run_and_report(lambda: 4, layout) == 4
    places = {"folder": str(layout.root), "report": str(layout.report)}
    assert _objects(told()) == [{**end, "exit_code": 4, **places}]


def test_an_error_is_an_event_and_then_the_end(told: Told, tmp_path: Path) -> None:
    def mistaken() -> int:
        raise InputError("--limit: expected a number", detail="line 3")

    assert JsonProgress(RESOLVED).run_and_report(mistaken, Layout(tmp_path / "none")) == 2
    error, end = _objects(told())
    assert error == {"event": "error", "message": "--limit: expected a number\n    line 3"}
    assert (end["event"], end["exit_code"], end["folder"]) == ("finished", 2, None)

    def broken() -> int:
        raise RuntimeError("boom")

    assert JsonProgress(RESOLVED).run_and_report(broken, Layout(tmp_path / "none")) == 70
    error, end = _objects(told())
    assert "RuntimeError: boom" in error["message"]
    assert end["exit_code"] == 70


def test_an_interrupted_run_tells_the_last_it_knows(told: Told, clock: Clock) -> None:
    events = JsonProgress(RESOLVED, clock=clock)
    events.started(A, 1000)
    events.advanced(A, 100)
    events.stopping()
    events.retried(A.id, "lost")
    events.interrupted()
    _, stopping, retried, progress, interrupted = _objects(told())
    assert stopping == {"event": "stopping"}
    assert retried == {"event": "retried", "cell": "a.pass", "reason": "lost"}
    assert (progress["event"], progress["done"], progress["total"]) == ("progress", 100, 1000)
    assert interrupted["event"] == "interrupted"
    assert "resume" in interrupted["message"]


def test_what_models_print_is_an_event(told: Told) -> None:
    events = JsonProgress(RESOLVED)
    with events.at_work():
        print("one\ntwo")
        print("50 %\r100 %\r", end="", file=sys.stderr)
        print("no end of line", end="")
        events.note("reading claims")
    assert _objects(told()) == [
        {"event": "output", "text": "one"},
        {"event": "output", "text": "two"},
        {"event": "output", "text": "50 %"},
        {"event": "output", "text": "100 %"},
        {"event": "note", "message": "reading claims"},
        {"event": "output", "text": "no end of line"},
    ]
