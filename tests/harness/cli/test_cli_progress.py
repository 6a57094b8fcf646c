"""Who tells progress, and what: lines, bars; several cells are under way at once."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from crucibench.cli._progress import BarProgress, LineProgress, ProgressListener
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
