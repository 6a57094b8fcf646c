"""Progress as lines: the plan, each cell when it is done, and now and then what takes long."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from crucibench.cli._output import draw, print_table, visible
from crucibench.cli._pace import Pace
from crucibench.cli._plan import duration, plan_tables
from crucibench.cli._remembering import Remembering

if TYPE_CHECKING:
    from rich.console import Console

    from crucibench.engine.inspected import Inspection
    from crucibench.engine.plan.plan import Plan, PlannedCell
    from crucibench.engine.resolve.resolve import Resolved
    from crucibench.store.cells import CellFile

MOST = 8
"""So many cells are shown at once, and how many more there are."""
STOPPING = "stopping after the shards that are under way; Ctrl-C again stops now"
_EVERY = 30.0
_LOOK = 5.0


class Lines(Remembering):
    """Prints lines."""

    def __init__(
        self,
        resolved: Resolved,
        *,
        announce: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begins.

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
        self._names: dict[str, str] = {}
        self._paces: dict[str, Pace] = {}
        self._told = clock()

    # -- what the engine tells ------------------------------------------------------------------

    def note(self, message: str) -> None:
        self._say(message)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        super().planned(plan, inspection)
        if self._announce:
            draw(lambda target: self._print_plan(plan, inspection, target), stderr=True)

    def started(self, cell: PlannedCell, total: int) -> None:
        self._names[cell.id] = words_of(cell)
        self._paces[cell.id] = Pace(total, self._clock())

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        pace = self._paces.get(cell.id)
        if pace is not None:
            pace.advance(samples, self._clock())

    def retried(self, cell: str, reason: str) -> None:
        self._say(f"again: {self._names.get(cell, cell)}: {reason}")

    def finished(self, cell: CellFile) -> None:
        self._say(self._line(cell))
        self._paces.pop(cell.cell, None)

    def stopping(self) -> None:
        # Called from a signal handler, perhaps in the midst of another line.
        with contextlib.suppress(RuntimeError):
            self._say(STOPPING)

    # -- while the engine runs ------------------------------------------------------------------

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        stop = threading.Event()

        def watch() -> None:
            # A cell may be silent for long: this does not wait for it to advance.
            while not stop.wait(_LOOK):
                self.beat()

        watcher = threading.Thread(target=watch, name="progress", daemon=True)
        watcher.start()
        try:
            with super().at_work():
                yield
        finally:
            stop.set()
            watcher.join()

    def beat(self) -> None:
        """Prints a line for each cell that has been under way for long, if it is time to."""
        now = self._clock()
        # One look early, so that no more than the time allowed passes between two lines.
        if now - self._told <= _EVERY - _LOOK:
            return
        # A copy: the engine goes on meanwhile, in another thread.
        long = [
            (name, pace)
            for name, pace in list(self._paces.items())
            if now - pace.begun > _EVERY - _LOOK
        ]
        if not long:
            return
        self._told = now
        for name, pace in long[:MOST]:
            self._say(f"under way: {self._names[name]}, {self._stand(pace, now)}")
        if len(long) > MOST:
            self._say(f"under way: and {len(long) - MOST} more")

    # -- words ----------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        click.echo(visible(text), file=self._stream)

    def _print_plan(self, plan: Plan, inspection: Inspection, target: Console) -> None:
        for table in plan_tables(self._resolved, plan, inspection):
            print_table(table, target)
            target.print()

    def _stand(self, pace: Pace, now: float) -> str:
        if pace.total is None:
            words = f"{pace.done:,} done"
        else:
            words = f"{pace.done:,} of {pace.total:,} samples"
        rate, left = pace.rate(now), pace.seconds_left(now)
        if rate is not None:
            words += f", {rate_words(rate)}"
        if left:
            words += f", about {duration(left)} left"
        return f"{words}, after {duration(now - pace.begun)}"

    def _line(self, cell: CellFile) -> str:
        line = f"{cell.status}: {cell.model} on {cell.data}, {cell.suite}/{cell.scenario}"
        if cell.status == "ok":
            line += f", {cell.n:,} samples" if cell.kind == "mapped" else ""
            if cell.cell in self._paces:
                line += f" in {duration(self._clock() - self._paces[cell.cell].begun)}"
            if cell.verdict is not None and cell.verdict != "valid":
                codes = [entry.code for entry in cell.findings if entry.severity != "info"]
                line += f" ({cell.verdict}: {', '.join(dict.fromkeys(codes))})"
        return f"{line}: {cell.reason}" if cell.reason else line


def words_of(cell: PlannedCell) -> str:
    """Names a cell for people."""
    return f"{cell.model.name} on {cell.data.name}, {cell.scenario.address}"


def rate_words(rate: float) -> str:
    """Writes samples a second."""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
