"""What the cells of a run cost, as `show --costs` and `show --cell` show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crucibench.cli._options import Format
from crucibench.cli._output import Table, draw, emit, print_table, visible, write
from crucibench.cli._plan import duration

if TYPE_CHECKING:
    from rich.console import Console

    from crucibench.report.costs import Cost
    from crucibench.store.run import Run

_HEADS = {
    "seconds": "wall", "cpu_seconds": "CPU", "device_seconds": "device", "forwards": "forwards",
    "backwards": "backwards", "peak_memory": "peak memory", "tasks": "tasks",
    "attempts": "attempts", "cached": "cached",
}  # fmt: skip
_TIMES = frozenset({"seconds", "cpu_seconds", "device_seconds"})
_LEAST = ("tasks", "attempts", "cached")
"""What a narrow terminal does not show."""
_ROOMY = 120
_ALL = "all"


def print_costs(run: Run, form: Format) -> None:
    """Prints a line a cell and, last, all of them together."""
    from crucibench.report.costs import costs, total

    found = costs(run)
    whole = total(found)
    columns = ("cell", *_HEADS)
    if form == "json":
        document = {"run": run.id, "cells": [cost_record(cost) for cost in found], "total": whole}
        emit(form, document, ())
    elif form == "csv":
        lines = [*(cost_record(cost) for cost in found), {**whole, "cell": _ALL}]
        emit(form, None, [Table(columns, [[line[name] for name in columns] for line in lines])])
    elif form == "md":
        rows = [[cost.cell, *_words(cost_record(cost))] for cost in found]
        rows.append([f"{_ALL} {whole['cells']}", *_words(whole)])
        emit(form, None, [Table(("cell", *_HEADS.values()), rows, f"Costs of run {run.id}")])
        for note in _footnotes(run, found, whole):
            write(f"\n{note}\n")
    else:
        draw(lambda target: _draw(run, found, whole, target))


def cost_record(cost: Cost) -> dict[str, Any]:
    """Returns a cost as plain data."""
    return {name: getattr(cost, name) for name in ("cell", *_HEADS)}


def cost_facts(run: Run, cost: Cost) -> dict[str, str]:
    """Returns a cost as facts; what is not known is said to be so."""
    from crucibench.report.costs import no_device_seconds

    words = dict(zip(_HEADS.values(), _words(cost_record(cost)), strict=True))
    why = no_device_seconds(run, [cost])
    return words | ({"note": why} if why else {})


def memory(size: int) -> str:
    """Writes bytes: ``312 MiB``, ``4.1 GiB``."""
    mebibytes = size / 2**20
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes >= 1024 else f"{mebibytes:.0f} MiB"


def _draw(run: Run, found: Sequence[Cost], whole: Mapping[str, Any], target: Console) -> None:
    from rich.text import Text

    names = [name for name in _HEADS if target.width >= _ROOMY or name not in _LEAST]
    fold = " " if target.width >= _ROOMY else "\n"
    rows = []
    for cost in found:
        cell = run.cells[cost.cell]
        label = f"{cell.model} on {cell.data},{fold}{cell.suite}/{cell.scenario}"
        rows.append([label, *_words(cost_record(cost), names)])
    rows.append([f"{_ALL} {whole['cells']}", *_words(whole, names)])
    heads = [_HEADS[name] for name in names]
    print_table(Table(("cell", *heads), rows, f"Costs of run {run.id}", right=heads), target)
    notes = _footnotes(run, found, whole)
    if len(names) < len(_HEADS):
        hidden = ", ".join(_HEADS[name] for name in _LEAST)
        notes.append(f"Also {hidden}: in a terminal of {_ROOMY} columns, or with --format csv.")
    for note in notes:
        target.print(Text(visible(note), style="dim"))


def _words(values: Mapping[str, Any], names: Sequence[str] = tuple(_HEADS)) -> list[str]:
    return [_word(name, values[name]) for name in names]


def _word(name: str, value: Any) -> str:
    from crucibench.report.format import DASH, show_count

    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _TIMES:
        return duration(value)
    return memory(value) if name == "peak_memory" else show_count(value)


def _footnotes(run: Run, found: Sequence[Cost], whole: Mapping[str, Any]) -> list[str]:
    from crucibench.report.costs import no_device_seconds
    from crucibench.report.format import DASH

    notes = [
        "Wall is the time of a cell's tasks, added up over workers and attempts; CPU is that of "
        "all their threads; forwards and backwards count samples. The last line adds up; its peak "
        "is the highest."
    ]
    idle = sum(cost.seconds is None for cost in found)
    if idle:
        notes.append(
            f"{DASH} in a whole line: the cell asked no model anything. It was computed from other "
            "cells, or failed before."
        )
    asked = whole["cells"] - idle
    part = {
        head: whole["known"][name]
        for name, head in _HEADS.items()
        if 0 < whole["known"].get(name, asked) < asked and name != "device_seconds"
    }
    if part:
        known = ", ".join(f"{head} of {count}" for head, count in part.items())
        notes.append(f"Of {asked} cells that asked a model, the last line has {known}.")
    why = no_device_seconds(run, [cost for cost in found if cost.seconds is not None])
    return [*notes, *([f"{DASH}: {why}."] if why else [])]
