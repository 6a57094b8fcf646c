"""Report the progress of a run on stderr: as bars, as lines, or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click
from rich import progress as rich_progress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from crucibench.cli._forecast import Forecast, range_words
from crucibench.cli._options import Progress
from crucibench.cli._output import console, describe_cell, draw, print_table, visible, warn
from crucibench.cli._plan import plan_tables
from crucibench.engine.inspect import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.resolve.resolve import Resolved
from crucibench.report.format import duration
from crucibench.store.cells import CellFile
from crucibench.util.text import shorten


@dataclass
class UnderWay:
    """A cell that was begun and has not ended.

    Attributes:
        name: it, for people.
        samples: those there are; 0 where nobody knows.
        begun: seconds, of the listener's clock.
        done: samples.
    """

    name: str
    samples: int
    begun: float
    done: int = 0

    @property
    def total(self) -> int | None:
        """The samples there are; None where nobody knows: later stages ask about some again."""
        return self.samples if self.samples and self.done <= self.samples else None


INTERRUPTED = "interrupted; give the same command again to resume"


class ProgressListener(Listener):
    """Keeps the plan and prints nothing; the base of the listeners that print progress."""

    def __init__(self) -> None:
        self._planned: tuple[Plan, Inspection] | None = None

    def plan(self) -> tuple[Plan, Inspection]:
        """Returns what was planned."""
        if self._planned is None:
            raise AssertionError("the engine ended without a plan")
        return self._planned

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        self._planned = plan, inspection

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Sends what models print to stderr while the engine runs, away from the data."""
        with contextlib.redirect_stdout(sys.stderr):
            yield

    def interrupted(self) -> None:
        """Says that the run was interrupted, and how to resume it."""
        warn(INTERRUPTED)


MOST = 8
"""Cells that are shown at once; of the rest, only their number."""
STOPPING = "stopping after the shards that are under way; Ctrl-C again stops now"
_EVERY = 30.0
_LOOK = 5.0


class LineProgress(ProgressListener):
    """Prints the plan, a line for each finished cell, and now and then what takes long."""

    def __init__(
        self,
        resolved: Resolved,
        *,
        announce: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Starts with nothing done.

        Args:
            resolved: the spec.
            announce: whether the plan is printed.
            clock: seconds, not going back.
        """
        super().__init__()
        self._resolved = resolved
        self._announce = announce
        self._clock = clock
        # Kept: whoever redirects stderr while the engine runs does not mean these lines.
        self._stream = sys.stderr
        self._cells: dict[str, UnderWay] = {}
        self._forecast: Forecast | None = None
        self._last_printed = clock()
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="progress", daemon=True)

    # -- calls from the engine ------------------------------------------------------------------

    def note(self, message: str) -> None:
        self._print_line(message)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        super().planned(plan, inspection)
        self._forecast = Forecast(plan, inspection.seconds_per_sample, self._clock())
        if self._announce:
            draw(lambda target: self._print_plan(plan, inspection, target), stderr=True)
        self._watcher.start()  # not before: the engine's process is forked while it has one thread

    def started(self, cell: PlannedCell, total: int) -> None:
        self._cells[cell.id] = UnderWay(words_of(cell), total, self._clock())

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        if cell.id in self._cells:
            self._cells[cell.id].done += samples
        self._tell_forecast(cell.id, samples)

    def _tell_forecast(self, cell: str, samples: int | None) -> None:
        if self._forecast is not None:
            self._forecast.advance(cell, samples, self._clock())
            if (found := self._forecast.news()) is not None:
                self._print_line(f"the rest takes {range_words(found)}, as measured so far")

    def retried(self, cell: str, reason: str) -> None:
        name = self._cells[cell].name if cell in self._cells else cell
        self._print_line(f"again: {name}: {reason}")

    def finished(self, cell: CellFile) -> None:
        self._print_line(self._line(cell))
        self._cells.pop(cell.cell, None)
        self._tell_forecast(cell.cell, None)

    def stopping(self) -> None:
        # Called from a signal handler, perhaps in the midst of another line.
        with contextlib.suppress(RuntimeError):
            self._print_line(STOPPING)

    # -- while the engine runs ------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        try:
            with super().at_work():
                yield
        finally:
            self._over.set()
            if self._watcher.is_alive():
                self._watcher.join()

    def _watch(self) -> None:
        # A cell may be silent for long: this does not wait for it to advance.
        while not self._over.wait(_LOOK):
            self.beat()

    def beat(self) -> None:
        """Prints a line for each cell that has been under way for long, if it is time to."""
        now = self._clock()
        # One look early, so that no more than the time allowed passes between two lines.
        if now - self._last_printed <= _EVERY - _LOOK:
            return
        # A copy: the engine goes on meanwhile, in another thread.
        long = [one for one in list(self._cells.values()) if now - one.begun > _EVERY - _LOOK]
        if not long:
            return
        self._last_printed = now
        for one in long[:MOST]:
            total = "done" if one.total is None else f"of {one.total:,} samples"
            lasted = duration(now - one.begun)
            self._print_line(f"under way: {one.name}, {one.done:,} {total}, after {lasted}")
        if len(long) > MOST:
            self._print_line(f"under way: and {len(long) - MOST} more")

    # -- words ----------------------------------------------------------------------------------

    def _print_line(self, text: str) -> None:
        click.echo(visible(text), file=self._stream)

    def _print_plan(self, plan: Plan, inspection: Inspection, target: Console) -> None:
        for table in plan_tables(self._resolved, plan, inspection):
            print_table(table, target)
            target.print()

    def _line(self, cell: CellFile) -> str:
        line = f"{cell.status}: {describe_cell(cell)}"
        if cell.status == "ok":
            line += f", {cell.n:,} samples" if cell.kind == "mapped" else ""
            if cell.cell in self._cells:
                line += f" in {duration(self._clock() - self._cells[cell.cell].begun)}"
            if cell.verdict is not None and cell.verdict != "valid":
                codes = [entry.code for entry in cell.findings if entry.severity != "info"]
                line += f" ({cell.verdict}: {', '.join(dict.fromkeys(codes))})"
        return f"{line}: {cell.reason}" if cell.reason else line


def words_of(cell: PlannedCell) -> str:
    """Names a cell for people."""
    return f"{cell.model.name} on {cell.data.name}, {cell.scenario.address}"


_ROOMY = 100
_NUMBERS = 24
"""Columns that counts and time left take."""


class BarProgress(LineProgress):
    """Draws a bar for each cell under way, with the time left, below the lines."""

    def __init__(self, resolved: Resolved, *, announce: bool) -> None:
        super().__init__(resolved, announce=announce)
        screen = console(stderr=True, terminal=True)
        bar = 24 if screen.width >= _ROOMY else 10
        self._board = rich_progress.Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=bar),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=screen,
            transient=True,
        )
        self._widest = max(20, screen.width - bar - _NUMBERS)
        self._doing = self._board.add_task("starting", total=None)
        self._indexed: dict[str, TaskID] = {}
        self._tasks: dict[str, TaskID] = {}
        """Of the cells under way."""

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        with ProgressListener.at_work(self):
            try:
                yield
            finally:
                # Within: the board puts back the stdout that it found when it was started.
                self._board.stop()

    def note(self, message: str) -> None:
        self._board.start()
        self._board.update(self._doing, description=self._name(message))

    def indexing(self, data: str, done: int, total: int) -> None:
        if data not in self._indexed:
            self._indexed[data] = self._board.add_task(self._name(f"indexing {data}"), total=None)
        self._board.update(self._indexed[data], completed=done, total=total or None)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        ProgressListener.planned(self, plan, inspection)
        self._forecast = Forecast(plan, inspection.seconds_per_sample, self._clock())
        for task in self._indexed.values():
            self._board.remove_task(task)
        self._indexed.clear()
        if self._announce:
            self._print_plan(plan, inspection, self._board.console)
            self._board.reset(self._doing, total=len(plan.cells), description="cells")

    def started(self, cell: PlannedCell, total: int) -> None:
        super().started(cell, total)
        if cell.id in self._tasks:  # begun anew
            self._board.remove_task(self._tasks.pop(cell.id))
        self._tasks[cell.id] = self._board.add_task(self._name(words_of(cell)), total=total or None)

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        self._tell_forecast(cell.id, samples)
        if cell.id in self._tasks:
            self._board.advance(self._tasks[cell.id], samples)

    def finished(self, cell: CellFile) -> None:
        super().finished(cell)
        if cell.cell in self._tasks:
            self._board.remove_task(self._tasks.pop(cell.cell))
        self._board.advance(self._doing)

    def _name(self, text: str) -> str:
        # Start and end say most: the model and the scenario.
        return shorten(visible(text), self._widest)

    def _print_line(self, text: str) -> None:
        self._board.console.print(Text(visible(text)))


def listener_for(
    resolved: Resolved, progress: Progress, *, quiet: bool, announce: bool
) -> ProgressListener:
    """Returns the listener that reports progress as asked.

    Args:
        resolved: the spec.
        progress: how; ``auto`` finds out what suits stderr.
        quiet: whether nothing is printed.
        announce: whether the plan is printed.

    Raises:
        click.UsageError: if progress is wanted and not wanted.
    """
    if quiet and progress not in ("auto", "none"):
        raise click.UsageError(f"expected --quiet or --progress {progress}, not both")
    if quiet or progress == "none":
        return ProgressListener()
    if progress == "bars" or (progress == "auto" and _can_draw()):
        return BarProgress(resolved, announce=announce)

    return LineProgress(resolved, announce=announce)


def _can_draw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
