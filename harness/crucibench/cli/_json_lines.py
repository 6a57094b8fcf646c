"""Progress for programs: one JSON object a line on stderr, each with its time and its event.

What models and libraries print meanwhile comes as events too, so that every line can be read.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import click

from crucibench.cli._errors import exit_code
from crucibench.cli._output import plain
from crucibench.cli._pace import Pace
from crucibench.cli._remembering import INTERRUPTED, Remembering

if TYPE_CHECKING:
    from crucibench.engine.inspected import Inspection
    from crucibench.engine.plan.plan import Plan, PlannedCell
    from crucibench.engine.resolve.resolve import Resolved
    from crucibench.store.cells import CellFile
    from crucibench.store.layout import Layout

_EVERY = 1.0


class JsonLines(Remembering):
    """Writes the events."""

    for_people = False

    def __init__(
        self,
        resolved: Resolved,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Begins.

        Args:
            resolved: the spec.
            clock: seconds, not going back; the times of events are wall-clock times.
        """
        super().__init__()
        self._resolved = resolved
        self._clock = clock
        self._stream = sys.stderr
        self._paces: dict[str, Pace] = {}
        self._told: dict[str, float] = {}
        self._untold: set[str] = set()

    # -- what the engine tells ------------------------------------------------------------------

    def note(self, message: str) -> None:
        self._write("note", message=message)

    def indexing(self, data: str, done: int, total: int) -> None:
        if self._is_time(f"indexing {data}") or done == total:
            self._write("indexing", data=data, done=done, total=total or None)

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        from crucibench.cli._plan import plan_document

        super().planned(plan, inspection)
        document = plan_document(self._resolved, plan, inspection)
        running = [cell for cell in document["cells"] if cell["status"] == "planned"]
        self._write(
            "plan",
            run=document["run"],
            cells=len(running),
            skipped=len(document["cells"]) - len(running),
            samples=sum(cell["samples"] for cell in running if cell["kind"] == "mapped"),
            seconds=document["seconds"],
            seconds_cover=document["seconds_cover"],
        )

    def started(self, cell: PlannedCell, total: int) -> None:
        self._paces[cell.id] = Pace(total, self._clock())
        self._told[cell.id] = self._clock()
        self._write(
            "cell-started", cell=cell.id, model=cell.model.name, data=cell.data.name,
            scenario=cell.scenario.address, total=total or None,
        )  # fmt: skip

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        pace = self._paces.get(cell.id)
        if pace is None:
            return
        pace.advance(samples, self._clock())
        self._untold.add(cell.id)
        if self._is_time(cell.id):
            self._progress(cell.id)

    def retried(self, cell: str, reason: str) -> None:
        self._write("retried", cell=cell, reason=reason)

    def finished(self, cell: CellFile) -> None:
        if cell.cell in self._untold:
            self._progress(cell.cell)
        pace = self._paces.pop(cell.cell, None)
        self._write(
            "cell", cell=cell.cell, model=cell.model, data=cell.data,
            scenario=f"{cell.suite}/{cell.scenario}", status=cell.status, verdict=cell.verdict,
            reason=cell.reason or None, samples=cell.n,
            seconds=None if pace is None else round(self._clock() - pace.begun, 3),
            findings=list(dict.fromkeys(entry.code for entry in cell.findings)),
        )  # fmt: skip

    def stopping(self) -> None:
        # Called from a signal handler, perhaps in the midst of another line.
        with contextlib.suppress(RuntimeError):
            self._write("stopping")

    # -- beginning and end ----------------------------------------------------------------------

    def interrupted(self) -> None:
        for cell in sorted(self._untold):
            self._progress(cell)
        self._write("interrupted", message=INTERRUPTED)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        output = _Output(lambda text: self._write("output", text=text), self._stream)
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                yield
            finally:
                output.end()

    def told(self, work: Callable[[], int], layout: Layout) -> int:
        try:
            code = work()
        except (Exception, KeyboardInterrupt) as error:
            code = self._failed(error)
        self._write(
            "finished",
            exit_code=code,
            run=self._resolved.run_id,
            folder=str(layout.root) if layout.root.is_dir() else None,
            report=str(layout.report) if layout.report.is_file() else None,
        )
        return code

    def _failed(self, error: BaseException) -> int:
        def again() -> None:
            raise error

        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            code = exit_code(again)
        self._write("error", message=said.getvalue().strip().removeprefix("error: "))
        return code

    # -- writing --------------------------------------------------------------------------------

    def _progress(self, cell: str) -> None:
        pace, now = self._paces[cell], self._clock()
        rate, left = pace.rate(now), pace.seconds_left(now)
        self._untold.discard(cell)
        self._write(
            "progress",
            cell=cell,
            done=pace.done,
            total=pace.total,
            rate=None if rate is None else round(rate, 3),
            seconds_left=None if left is None else round(left, 1),
        )

    def _is_time(self, what: str) -> bool:
        now = self._clock()
        if now - self._told.get(what, -math.inf) < _EVERY:
            return False
        self._told[what] = now
        return True

    def _write(self, event: str, **facts: Any) -> None:
        line = {"time": round(time.time(), 3), "event": event, **plain(facts)}
        click.echo(json.dumps(line, allow_nan=False), file=self._stream)


class _Output(io.TextIOBase):
    """A stream that hands on whole lines."""

    def __init__(self, tell: Callable[[str], None], stream: TextIO) -> None:
        self._tell = tell
        self._stream = stream
        self._begun = ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        # The steps of a progress bar end with a carriage return.
        *lines, self._begun = re.split(r"[\r\n]", self._begun + text)
        for line in lines:
            if line.strip():
                self._tell(line)
        return len(text)

    def fileno(self) -> int:
        # Whoever asks writes past this stream, as processes do that are started from here.
        return self._stream.fileno()

    def end(self) -> None:
        """Hands on what no end of line came after."""
        self.write("\n")
