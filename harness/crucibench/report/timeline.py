"""When each cell of a run was under way, by the run's log, and bars that show it.

All times are seconds since the first line of the log. The log is written while the run goes on, by
processes that may be killed: a last line may be torn, and events that this version does not know
may stand between the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from crucibench.report.findings import address_of
from crucibench.store.events import LOG_AT_MOST
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.untrusted.content import RefusedError, read_content
from crucibench.util.untrusted.json_text import parse_json

if TYPE_CHECKING:
    from crucibench.store.run import Run

Ending = Literal["finished", "interrupted", "stopped", "broken off", "open"]
"""How an attempt ended. ``broken off``: its log has no end, as after a kill or an error, and there
is a later attempt; ``open``: likewise, and it may still be under way."""

Interval = tuple[float, float]

Mark = Literal["work", "wait", "pause", "idle"]
"""A column of a bar: a task ran; the cell was begun and not ended; nothing ran at all; none."""

_LINE_START = '{"time"'

_LOSSES = frozenset({"lost", "killed", "crashed"})
_OWN = frozenset({"derive", "score"})
"""What the process does that holds the run, and no worker."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """From one start of the command to its end.

    Attributes:
        number: from 1.
        start: of its first line.
        end: of its last line.
        ending: how it ended.
        executor: who spread the work; None where the log does not say.
        workers: how many; likewise.
        busy: the seconds of all tasks of its workers together.
    """

    number: int
    start: float
    end: float
    ending: Ending
    executor: str | None
    workers: int | None
    busy: float

    @property
    def use(self) -> float | None:
        """The share of the workers' time that went into tasks; None where it is not known."""
        whole = (self.end - self.start) * (self.workers or 0)
        return min(1.0, self.busy / whole) if whole > 0 else None


@dataclass(frozen=True)
class Pause:
    """Between two attempts nothing ran.

    Attributes:
        start: the end of the attempt before.
        end: the start of the next.
        ending: how the attempt before ended.
    """

    start: float
    end: float
    ending: Ending


@dataclass(frozen=True)
class Loss:
    """A worker that did not end by itself."""

    time: float
    worker: str
    state: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CellTimes:
    """One cell.

    Attributes:
        cell: its id.
        model, data, scenario: what it is; None where neither log nor cell file says so.
        start: when it was begun first; None where the log does not say.
        end: when it was ended last; None while it is not.
        busy: the seconds of all its tasks together; None where the log holds no tasks at all.
        workers: who worked on it.
        tasks: how many.
        retries: how often something of it was tried again.
        cached: whether its records were taken from the cache.
        status: None while it has none.
        verdict: of its numbers.
        spans: when it was under way, an interval an attempt.
        work: when a task of it was.
    """

    cell: str
    model: str | None
    data: str | None
    scenario: str | None
    start: float | None
    end: float | None
    busy: float | None
    workers: tuple[str, ...]
    tasks: int
    retries: int
    cached: bool
    status: str | None
    verdict: str | None
    spans: tuple[Interval, ...]
    work: tuple[Interval, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """A run's log, in order.

    Attributes:
        begun: seconds since the epoch at which the log begins.
        attempts: in order.
        cells: in order of their start; skipped ones are left out.
        losses: workers that were lost, killed or crashed.
        skipped: how many cells were skipped.
        torn: how many lines can't be read.
    """

    begun: float
    attempts: tuple[Attempt, ...]
    cells: tuple[CellTimes, ...]
    losses: tuple[Loss, ...]
    skipped: int
    torn: int

    @property
    def end(self) -> float:
        """When the log ends."""
        return max(attempt.end for attempt in self.attempts)

    @property
    def pauses(self) -> tuple[Pause, ...]:
        """The times between attempts."""
        pairs = zip(self.attempts, self.attempts[1:], strict=False)
        return tuple(
            Pause(before.end, after.start, before.ending)
            for before, after in pairs
            if after.start > before.end
        )

    @property
    def running(self) -> float:
        """The seconds from start to end, pauses left out."""
        return self.end - sum(pause.end - pause.start for pause in self.pauses)


def timeline(run: Run) -> Timeline:
    """Reads the timeline of a run.

    Raises:
        InputError: if it is a pack, which holds no times.
        UnreadableError: if the run has no log, or one without a readable line.
    """
    if run.packed:
        raise InputError("a pack holds no times: ask the run that it was made of")
    lines, torn = read_log(run.layout.events)
    if not lines:
        raise UnreadableError(f"run {run.id} has no log ({str(run.layout.events)!r} is empty)")
    reader = _Reader(float(lines[0]["time"]))
    for line in lines:
        reader.take(line)
    return reader.timeline(run, torn)


@dataclass
class _Span:
    """A cell in one attempt.

    Attributes:
        start: the first moment at which it was heard of.
        end: the last one.
        ended: when its cell ended in this attempt, or None.
        asked: whether a model was asked, or its records came from the cache.
    """

    start: float = math.inf
    end: float = -math.inf
    ended: float | None = None
    asked: bool = False
    work: list[Interval] = field(default_factory=list)
    workers: set[str] = field(default_factory=set)

    def reach(self, *times: float) -> None:
        self.start, self.end = min(self.start, *times), max(self.end, *times)


@dataclass
class _Cell:
    facts: dict[str, str | None] = field(default_factory=dict)
    spans: dict[int, _Span] = field(default_factory=dict)
    """By number of the attempt."""
    retries: int = 0
    cached: bool = False

    def counting(self) -> dict[int, _Span]:
        """Returns the attempts that count: an attempt after it was settled only reads it again."""
        found: dict[int, _Span] = {}
        settled = False
        for number, span in self.spans.items():
            if span.asked or not settled:
                found[number] = span
            settled = settled or span.ended is not None
        return found


@dataclass
class _Attempt:
    start: float
    end: float
    ending: Ending | None = None
    executor: str | None = None
    workers: int | None = None
    busy: float = 0.0


class _Reader:
    """Takes the events one by one."""

    def __init__(self, begun: float) -> None:
        self._begun = begun
        self._attempts: list[_Attempt] = []
        self._cells: dict[str, _Cell] = {}
        self._losses: list[Loss] = []

    def take(self, event: Mapping[str, Any]) -> None:
        # A clock that was put back must not turn times around.
        time = max(0.0, float(event["time"]) - self._begun)
        kind = event["event"]
        if kind == "started" or not self._attempts:
            executor, workers = event.get("executor"), _as_number(event.get("workers"))
            self._attempts.append(
                _Attempt(
                    time, time,
                    executor=str(executor) if executor is not None else None,
                    workers=None if workers is None else int(workers),
                )
            )  # fmt: skip
        attempt = self._attempts[-1]
        attempt.end = max(attempt.end, time)
        if kind in ("finished", "interrupted", "stopped"):
            attempt.ending = kind
        elif kind == "worker" and event.get("state") in _LOSSES:
            reason = str(event.get("reason") or "")
            self._losses.append(Loss(time, str(event.get("worker")), event["state"], reason))
        elif isinstance(event.get("cell"), str):
            self._of_cell(kind, event, time)

    def _of_cell(self, kind: str, event: Mapping[str, Any], time: float) -> None:
        cell = self._cells.setdefault(event["cell"], _Cell())
        span = cell.spans.setdefault(len(self._attempts), _Span())
        if kind == "cell-started":
            cell.facts |= {name: event.get(name) for name in ("model", "data", "scenario")}
            span.reach(time)
        elif kind == "task":
            self._task(span, event, time)
        elif kind == "retried":
            cell.retries += 1
        elif kind == "cached":
            cell.cached = span.asked = True
            span.reach(time)
        elif kind == "cell":
            cell.facts |= {"status": event.get("status"), "verdict": event.get("verdict")}
            span.ended = time
            if span.start <= time:  # else nothing was done for it in this attempt
                span.reach(time)

    def _task(self, span: _Span, event: Mapping[str, Any], time: float) -> None:
        attempt = self._attempts[-1]
        seconds = max(0.0, _as_number(event.get("seconds")) or 0.0)
        begun = _as_number(event.get("begun"))
        # The clock of another machine may be ahead: no task ends after it was reported.
        start = time - seconds
        if begun is not None:
            start = min(start, begun - self._begun)
        start = max(start, attempt.start)
        span.work.append((start, start + seconds))
        span.reach(start, start + seconds)
        if event.get("kind") in _OWN:
            return
        span.asked = True
        attempt.busy += seconds
        if event.get("worker") is not None:
            span.workers.add(str(event["worker"]))

    def timeline(self, run: Run, torn: int) -> Timeline:
        last = len(self._attempts)
        attempts = tuple(
            Attempt(
                number=number, start=entry.start, end=entry.end, executor=entry.executor,
                workers=entry.workers, busy=entry.busy,
                ending=entry.ending or _unsaid(run, is_last=number == last),
            )
            for number, entry in enumerate(self._attempts, 1)
        )  # fmt: skip
        logged = any(span.work for cell in self._cells.values() for span in cell.spans.values())
        cells = [self._times(run, name, cell, logged) for name, cell in self._cells.items()]
        shown = [cell for cell in cells if cell.status != "skipped"]
        shown.sort(key=_moment)
        return Timeline(
            begun=self._begun, attempts=attempts, cells=tuple(shown), losses=tuple(self._losses),
            skipped=len(cells) - len(shown), torn=torn,
        )  # fmt: skip

    def _times(self, run: Run, name: str, cell: _Cell, logged: bool) -> CellTimes:
        facts = dict(cell.facts)
        file = run.cells.get(name)
        if file is not None:
            facts |= {"model": file.model, "data": file.data, "scenario": address_of(file)}
        counting = cell.counting()
        last = next(reversed(counting.values()))
        work = sorted(interval for span in counting.values() for interval in span.work)
        spans = tuple(
            # Begun and not settled: it was under way until the attempt was no more.
            (span.start, span.end if span.ended is not None else self._attempts[number - 1].end)
            for number, span in counting.items()
            if span.end >= span.start
        )
        settled = last.ended is not None
        return CellTimes(
            cell=name, model=facts.get("model"), data=facts.get("data"),
            scenario=facts.get("scenario"),
            start=min((start for start, _ in spans), default=None), end=last.ended,
            busy=sum(end - start for start, end in work) if logged else None,
            workers=tuple(sorted(set().union(*(span.workers for span in counting.values())))),
            tasks=len(work), retries=cell.retries, cached=cell.cached,
            status=facts.get("status") if settled else None,
            verdict=facts.get("verdict") if settled else None,
            spans=spans, work=tuple(work),
        )  # fmt: skip


def _unsaid(run: Run, *, is_last: bool) -> Ending:
    if not is_last:
        return "broken off"
    return "finished" if run.finished else "open"


def _moment(cell: CellTimes) -> float:
    # A log without starts still says in which order cells were settled.
    return next(time for time in (cell.start, cell.end, 0.0) if time is not None)


def bar(times: Timeline, cell: CellTimes | None, width: int) -> list[Mark]:
    """Returns the bar of a cell, or an empty one: a mark a column, `width` in all.

    A pause takes one column, however long it was, so that a run that was resumed days later can
    still be read; no column belongs to the times on both sides of it. The others are shared out by
    length, at least one to each time between two pauses. Where there are too many pauses for that,
    all columns are equally long and a pause is a time in which nothing ran.
    """
    pauses = times.pauses if 2 * len(times.pauses) < width else ()
    starts = [0.0, *(pause.end for pause in pauses)]
    ends = [*(pause.start for pause in pauses), times.end]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    marks: list[Mark] = []
    for start, end, columns in zip(
        starts, ends, _shared_out(width - len(pauses), lengths), strict=True
    ):
        if marks:
            marks.append("pause")
        part: list[Mark] = ["idle"] * columns
        if cell is not None:
            _paint(part, "wait", (start, end), cell.spans)
            _paint(part, "work", (start, end), cell.work)
        marks += part
    return marks


def _paint(marks: list[Mark], mark: Mark, stretch: Interval, intervals: Iterable[Interval]) -> None:
    begun, ended = stretch
    scale = len(marks) / (ended - begun) if ended > begun else 0.0
    for start, end in intervals:
        if end < begun or start > ended:
            continue
        first = min(int((max(start, begun) - begun) * scale), len(marks) - 1)
        # What is shorter than a column takes one.
        last = max(first + 1, min(math.ceil((end - begun) * scale), len(marks)))
        marks[first:last] = [mark] * (last - first)


def _shared_out(columns: int, lengths: Sequence[float]) -> list[int]:
    """Returns how many columns each length gets: one, and a share of the rest."""
    whole = sum(lengths)
    rest = columns - len(lengths)
    exact = [rest * length / whole if whole > 0 else 0.0 for length in lengths]
    shares = [1 + int(share) for share in exact]
    by_fraction = sorted(range(len(exact)), key=lambda place: int(exact[place]) - exact[place])
    for number in range(columns - sum(shares)):
        shares[by_fraction[number % len(shares)]] += 1
    return shares


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
