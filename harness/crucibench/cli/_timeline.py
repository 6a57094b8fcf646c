"""When each cell of a run was under way, as `show --timeline` shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crucibench.cli._options import Format
from crucibench.cli._output import Table, draw, emit, print_table, visible
from crucibench.cli._plan import duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    from crucibench.report.timeline import Attempt, CellTimes, Pause, Timeline
    from crucibench.store.run import Run

_COLUMNS = (
    "kind", "cell", "model", "data", "scenario", "start", "end", "busy", "workers", "tasks",
    "retries", "cached", "status", "verdict",
)  # fmt: skip
_ATTEMPT_COLUMNS = ("attempt", "start", "end", "ended", "executor", "workers", "busy", "use")
_LOSS_COLUMNS = ("worker", "time", "state", "reason")

_ENDINGS = {
    "finished": "finished",
    "interrupted": "interrupted",
    "stopped": "stopped by an error",
    "broken off": "broken off: killed, or stopped by an error",
    "open": "has no end yet: it is under way, or was killed",
}
_MARKS = {"work": "█", "wait": "░", "pause": "┊", "idle": " "}
_ASCII_MARKS = {"work": "#", "wait": ".", "pause": "|", "idle": " "}
_WIDEST_BAR, _NARROW_BAR, _NARROWEST_BAR = 40, 24, 10
_NARROWEST_LABEL = 12
_ROOMY = 100
_HEADS = {"cell": 0, "start": 0, "end": 0, "busy": 72, "workers": _ROOMY, "tasks": _ROOMY,
          "status": 0}  # fmt: skip
"""From which width of the terminal each is shown: what matters least makes room for the bar."""
_GAP = 2
_HOUR = 3600.0


def print_timeline(run: Run, form: Format) -> None:
    """Prints a line a cell and a line a pause, in order of their start."""
    from crucibench.report.timeline import timeline

    times = timeline(run)
    if form == "table":
        draw(lambda target: _draw(run, times, target))
        return
    cells = Table(_COLUMNS, [_row(line, form) for line in _lines(times)], title="Cells")
    attempts = Table(
        _ATTEMPT_COLUMNS, [_attempt_row(entry, form) for entry in times.attempts], title="Attempts"
    )
    tables = [cells, attempts]
    if times.losses:
        tables.append(_losses(times))
    emit(form, _document(run, times), tables)


def _document(run: Run, times: Timeline) -> dict[str, Any]:
    lines = [_row(line, "json") for line in _lines(times)]
    return {
        "run": run.id,
        "begun": times.begun,
        "seconds": times.end,
        "running_seconds": times.running,
        "attempts": [
            dict(zip(_ATTEMPT_COLUMNS, _attempt_row(entry, "json"), strict=True))
            for entry in times.attempts
        ],
        "lines": [dict(zip(_COLUMNS, line, strict=True)) for line in lines],
        "workers_lost": [
            dict(zip(_LOSS_COLUMNS, row, strict=True)) for row in _losses(times).rows
        ],
        "skipped_cells": times.skipped,
        "unreadable_lines": times.torn,
    }  # fmt: skip


def _lines(times: Timeline) -> list[CellTimes | Pause]:
    """Returns cells and pauses in order of their start; a cell without one keeps its place."""
    lines: list[CellTimes | Pause] = list(times.cells)
    for pause in times.pauses:
        place = next(
            (place for place, line in enumerate(lines) if _moment(line) >= pause.start), len(lines)
        )
        lines.insert(place, pause)
    return lines


def _moment(line: CellTimes | Pause) -> float:
    return next((time for time in (line.start, line.end) if time is not None), 0.0)


def _row(line: CellTimes | Pause, form: Format) -> list[Any]:
    from crucibench.report.timeline import CellTimes

    start, end = _number(line.start, form), _number(line.end, form)
    if not isinstance(line, CellTimes):
        return ["pause", *[None] * 4, start, end, *[None] * 5, line.ending, None]
    return [
        "cell", line.cell, line.model, line.data, line.scenario, start, end,
        _number(line.busy, form), list(line.workers), line.tasks, line.retries, line.cached,
        line.status, line.verdict,
    ]  # fmt: skip


def _attempt_row(entry: Attempt, form: Format) -> list[Any]:
    use = entry.use
    return [
        entry.number, _number(entry.start, form), _number(entry.end, form), entry.ending,
        entry.executor, entry.workers, _number(entry.busy, form),
        None if use is None else round(use, 4),
    ]  # fmt: skip


def _number(value: float | None, form: Format) -> float | None:
    # Markdown writes four digits of a number: those of a long run are to be whole seconds.
    if value is None or (form == "md" and value >= 1000):
        return value if value is None else round(value)
    return round(value, 3)


def _losses(times: Timeline) -> Table:
    rows = [[loss.worker, round(loss.time, 3), loss.state, loss.reason] for loss in times.losses]
    return Table(_LOSS_COLUMNS, rows, title="Workers lost")


# -- in a terminal --------------------------------------------------------------------------------


def _draw(run: Run, times: Timeline, target: Console) -> None:
    from rich.text import Text

    for line in _heading(run, times):
        target.print(Text(visible(line), style="bold"))
    if len(times.attempts) > 1:
        print_table(_attempts(times), target)
        target.print()
    target.print(_table(times, target))
    for note in _notes(times, target):
        target.print(Text(visible(note), style="dim"))
    if times.losses:
        target.print()
        long = times.end >= _HOUR
        words = [
            [loss.worker, clock(loss.time, long=long), loss.state, loss.reason]
            for loss in times.losses
        ]
        print_table(Table(_LOSS_COLUMNS, words, "Workers lost", right=("time",)), target)


def _heading(run: Run, times: Timeline) -> list[str]:
    from crucibench.report.format import counted, show_minute

    heading = (
        f"Timeline of run {run.id}, begun {show_minute(times.begun)} UTC: {duration(times.running)}"
    )
    if len(times.attempts) > 1:
        return [f"{heading} in {len(times.attempts)} attempts"]
    (only,) = times.attempts
    if only.workers is not None:
        heading += (
            f" with {counted(only.workers, 'worker')} ({only.executor or 'executor unknown'})"
        )
    if only.use is not None:
        heading += f", {100 * only.use:.0f} % of their time in tasks"
    return [heading] if only.ending == "finished" else [heading, f"It {_ended(only)}."]


def _ended(attempt: Attempt) -> str:
    words = _ENDINGS[attempt.ending]
    return f"was {words}" if attempt.ending in ("interrupted", "stopped", "broken off") else words


def _attempts(times: Timeline) -> Table:
    long = times.end >= _HOUR
    rows = [
        [
            entry.number, clock(entry.start, long=long), clock(entry.end, long=long),
            _ENDINGS[entry.ending],
            entry.workers, entry.executor,
            None if entry.use is None else f"{100 * entry.use:.0f} %",
        ]
        for entry in times.attempts
    ]  # fmt: skip
    columns = ("attempt", "start", "end", "ended", "workers", "executor", "in tasks")
    return Table(columns, rows, right=("start", "end", "in tasks"))


def _table(times: Timeline, target: Console) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable

    heads = [head for head, least in _HEADS.items() if target.width >= least]
    rows = [_texts(line, times, heads, folded=False) for line in _lines(times)]
    label, bar = _widths(target.width, heads, rows)
    if bar < _NARROW_BAR:
        rows = [_texts(line, times, heads, folded=True) for line in _lines(times)]
        label, bar = _widths(target.width, heads, rows)
    table = RichTable(
        box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True, padding=(0, 1)
    )
    table.add_column(heads[0], overflow="fold", width=label)
    for head in heads[1:-1]:
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column(heads[-1], no_wrap=True)
    table.add_column(_scale(times, bar), no_wrap=True, width=bar)
    for line, row in zip(_lines(times), rows, strict=True):
        table.add_row(*row, _bar(times, line, bar, target))
    return table


def _widths(whole: int, heads: Sequence[str], rows: Sequence[Sequence[Text]]) -> tuple[int, int]:
    """Returns the widths of label and bar: the bar takes what the other columns leave."""
    from rich.cells import cell_len

    widest = [
        max(map(cell_len, [head, *(line for row in rows for line in row[place].plain.split("\n"))]))
        for place, head in enumerate(heads)
    ]
    free = whole - sum(widest[1:]) - _GAP * len(widest)
    bar = min(_WIDEST_BAR, max(_NARROWEST_BAR, free - widest[0]))
    return min(widest[0], max(_NARROWEST_LABEL, free - bar)), bar


def _texts(
    line: CellTimes | Pause, times: Timeline, heads: Sequence[str], *, folded: bool
) -> list[Text]:
    from rich.text import Text

    from crucibench.report.timeline import CellTimes

    long = times.end >= _HOUR
    texts = {"start": clock(line.start, long=long), "end": clock(line.end, long=long)}
    style = "dim"
    if not isinstance(line, CellTimes):
        texts |= {"cell": "nothing ran", "status": line.ending}
        return [Text(texts.get(head, ""), style=style) for head in heads]
    fold = "\n" if folded else " "
    if line.tasks:
        texts |= {"busy": duration(line.busy or 0), "tasks": str(line.tasks)}
    if line.workers:
        texts["workers"] = str(len(line.workers))
    texts["cell"] = (
        f"{line.model} on {line.data},{fold}{line.scenario}" if line.model else line.cell
    )
    unsettled = "under way" if times.attempts[-1].ending == "open" else "no end"
    texts["status"] = f",{fold}".join([line.status or unsettled, *_remarks(line)])
    style = "red" if line.status == "failed" or line.verdict == "invalid" else ""
    style = style or ("yellow" if line.verdict == "suspect" or line.retries else "")
    return [
        Text(visible(texts.get(head, "")), style=style if head == "status" else "")
        for head in heads
    ]


def _remarks(line: CellTimes) -> list[str]:
    from crucibench.report.format import counted

    parts = []
    if line.verdict and line.verdict != "valid":
        parts.append(line.verdict)
    if line.cached:
        parts.append("cached")
    if line.retries:
        parts.append(counted(line.retries, "retry", "retries"))
    return parts


def _scale(times: Timeline, width: int) -> str:
    long = times.end >= _HOUR
    start, end = clock(0, long=long), clock(times.end, long=long)
    room = width - len(start) - len(end)
    return f"{start}{' ' * room}{end}" if room > 0 else end.rjust(width)[-width:]


def _bar(times: Timeline, line: CellTimes | Pause, width: int, target: Console) -> Text:
    from rich.text import Text

    from crucibench.report.timeline import CellTimes, bar

    marks = _MARKS if target.encoding.lower().startswith("utf") else _ASCII_MARKS
    bars = Text()
    for mark in bar(times, line if isinstance(line, CellTimes) else None, width):
        bars.append(marks[mark], style="dim" if mark in ("wait", "pause") else "cyan")
    return bars


def _notes(times: Timeline, target: Console) -> list[str]:
    from crucibench.report.format import counted

    marks = _MARKS if target.encoding.lower().startswith("utf") else _ASCII_MARKS
    legend = f"{marks['work']} a task ran, {marks['wait']} begun and waiting"
    if times.pauses:
        legend += f", {marks['pause']} nothing ran between two attempts (a column, however long)"
    notes = [legend]
    if not any(cell.tasks for cell in times.cells):
        notes = ["The log of this run holds no tasks: only when each cell was ended is known."]
    elif target.width < _ROOMY:
        notes.append(f"Workers and tasks: in a terminal of {_ROOMY} columns, or with --format csv.")
    if times.skipped:
        notes.append(f"{counted(times.skipped, 'cell')} skipped by plan.")
    if times.torn:
        notes.append(f"{counted(times.torn, 'line')} of the log can't be read and left out.")
    return notes


def clock(seconds: float | None, *, long: bool = False) -> str:
    """Writes a moment of a run: ``12:03.2``, or ``2:12:03`` where it is long; None as ""."""
    if seconds is None:
        return ""
    if long:
        whole = round(seconds)
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths // 10 % 60:02d}.{tenths % 10}"
