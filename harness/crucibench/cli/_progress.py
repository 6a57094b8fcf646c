"""Progress on stderr: bars with rate and time left in a terminal, else a line a finished cell."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from crucibench.cli._output import console, draw, print_table, warn
from crucibench.cli._plan import duration, plan_tables
from crucibench.engine.listener import Listener

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID

    from crucibench.engine.inspection import Inspection
    from crucibench.engine.plan import Plan, PlannedCell
    from crucibench.engine.resolve import Resolved
    from crucibench.store.cells import CellFile


class Remembering(Listener):
    """Keeps the plan; prints nothing."""

    def __init__(self) -> None:
        self._planned: tuple[Plan, Inspection] | None = None

    def plan(self) -> tuple[Plan, Inspection]:
        """Returns what was planned."""
        if self._planned is None:
            raise AssertionError("the engine ended without a plan")
        return self._planned

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        self._planned = plan, inspection


class Lines(Remembering):
    """Prints lines: the plan, and each cell when it is done."""

    def __init__(self, resolved: Resolved, announce: bool) -> None:
        super().__init__()
        self._resolved = resolved
        self._announce = announce
        self._begun: dict[str, float] = {}

    def note(self, message: str) -> None:
        warn(message)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        super().planned(plan, inspection)
        if self._announce:
            draw(lambda target: self._print_plan(plan, inspection, target), stderr=True)

    def started(self, cell: PlannedCell, total: int) -> None:
        self._begun[cell.id] = time.perf_counter()

    def finished(self, cell: CellFile) -> None:
        warn(self._line(cell))

    def _print_plan(self, plan: Plan, inspection: Inspection, target: Console) -> None:
        for table in plan_tables(self._resolved, plan, inspection):
            print_table(table, target)
            target.print()

    def _line(self, cell: CellFile) -> str:
        line = f"{cell.status}: {cell.model} on {cell.data}, {cell.suite}/{cell.scenario}"
        if cell.status == "ok":
            line += f", {cell.n:,} samples" if cell.kind == "mapped" else ""
            if cell.cell in self._begun:
                line += f" in {duration(time.perf_counter() - self._begun[cell.cell])}"
            if cell.verdict is not None and cell.verdict != "valid":
                codes = [entry.code for entry in cell.findings if entry.severity != "info"]
                line += f" ({cell.verdict}: {', '.join(dict.fromkeys(codes))})"
        return f"{line}: {cell.reason}" if cell.reason else line


class Bars(Lines):
    """Draws bars below the lines."""

    def __init__(self, resolved: Resolved, announce: bool, progress: Progress) -> None:
        super().__init__(resolved, announce)
        self._progress = progress
        self._doing = progress.add_task("starting", total=None)
        self._indexed: dict[str, TaskID] = {}
        self._tasks: dict[str, TaskID] = {}

    def note(self, message: str) -> None:
        self._progress.update(self._doing, description=message, visible=True)

    def indexing(self, data: str, done: int, total: int) -> None:
        if data not in self._indexed:
            self._indexed[data] = self._progress.add_task(f"indexing {data}", total=total or None)
        self._progress.update(self._indexed[data], completed=done, total=total or None)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        Remembering.planned(self, plan, inspection)
        for task in self._indexed.values():
            self._progress.remove_task(task)
        self._indexed.clear()
        if self._announce:
            self._print_plan(plan, inspection, self._progress.console)
            self._progress.reset(self._doing, total=len(plan.cells), description="cells")

    def started(self, cell: PlannedCell, total: int) -> None:
        super().started(cell, total)
        words = f"{cell.model.name} on {cell.data.name}, {cell.scenario.address}"
        self._tasks[cell.id] = self._progress.add_task(words, total=total or None)

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        self._progress.advance(self._tasks[cell.id], samples)

    def finished(self, cell: CellFile) -> None:
        task = self._tasks.pop(cell.cell, None)
        if task is not None:
            self._progress.remove_task(task)
        self._progress.console.print(self._line(cell))
        self._progress.advance(self._doing)


@contextlib.contextmanager
def listening(resolved: Resolved, *, quiet: bool, announce: bool) -> Iterator[Remembering]:
    """Yields the listener that suits stderr.

    Args:
        resolved: the spec.
        quiet: nothing is printed.
        announce: whether the plan is printed.
    """
    if quiet:
        yield Remembering()
    elif not sys.stderr.isatty():
        yield Lines(resolved, announce)
    else:
        from rich.progress import Progress

        with Progress(*_columns(), console=console(stderr=True), transient=True) as progress:
            yield Bars(resolved, announce, progress)


def _columns() -> list[ProgressColumn]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    return [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _rate_column(),
        TimeRemainingColumn(compact=True),
    ]


def _rate_column() -> ProgressColumn:
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        """Samples a second."""

        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f}/s" if speed and speed >= 10 else f"{speed:.1f}/s"
                        if speed else "", style="dim")  # fmt: skip

    return Rate()
