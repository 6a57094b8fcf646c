"""What `show` shows of a run, its cells, models and data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from crucibench.cli._evaluation import policy_of, print_scorecard
from crucibench.cli._options import Format
from crucibench.cli._output import (
    NotePrinter,
    Table,
    draw,
    emit,
    fact_table,
    record_table,
    visible,
    warn,
    write,
)
from crucibench.comparing.run_parity import pairs_of
from crucibench.contracts.data import DataCard
from crucibench.report.facts import (
    cost_of,
    costs,
    dependencies,
    dependency_rows,
    flat,
    no_device_seconds,
    show_cells,
    show_data,
    show_model,
    show_run,
    total,
)
from crucibench.report.format import DASH, duration, show_count
from crucibench.report.leaderboard import leaderboard
from crucibench.report.terminal import print_findings, print_leaderboard
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.numbers import size_text
from crucibench.util.suggest import unknown

LOG = "log.txt"
_APART = frozenset({"findings", "comparison", "identity", "numerics", "detail", "format_version"})
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def cell_view(run: Run, part: str) -> tuple[Any, list[Table]]:
    """Returns all that is known of a cell: as a document, and as tables."""
    cell = find_cell(run, part)
    cost = cost_of(run, cell.cell)
    document = {
        **cell.model_dump(mode="json"), "seconds": cost["seconds"], "costs": cost,
    }  # fmt: skip
    shown = {
        key: value
        for key, value in document.items()
        if key not in _APART | {"seconds", "costs"} and value not in ("", [], {}, None)
    }
    shown |= {
        key: part.digest
        for key, part in (("identity", cell.identity), ("numerics", cell.numerics))
        if part
    }
    findings = [[str(f.severity), f.code, f.message, f.cell] for f in cell.findings]
    tables = [
        fact_table(shown),
        fact_table(cost_facts(run, cost), "Cost"),
        Table(title="Findings", columns=("severity", "code", "finding", "from"), rows=findings),
    ]
    for title, fields in (
        ("Comparison fields", cell.comparison),
        ("Identity", cell.identity.fields if cell.identity else {}),
        ("Numerics", cell.numerics.fields if cell.numerics else {}),
    ):
        tables.append(fact_table(flat(fields), title))
    if cell.detail:
        tables.append(Table(title="What it raised", columns=("",), rows=[[cell.detail]],
                            headless=True))  # fmt: skip
    return document, [table for table in tables if table.rows]


def find_cell(run: Run, part: str) -> CellFile:
    """Returns a cell by its id, or by a part of it that no other has.

    Raises:
        InputError: if there is none, or there are several.
    """
    if part in run.cells:
        return run.cells[part]
    fitting = [name for name in run.cells if part in name]
    if not fitting:
        raise InputError(unknown("cell", part, run.cells))
    if len(fitting) > 1:
        raise InputError(f"cell {part!r} fits several: {', '.join(fitting)}")
    return run.cells[fitting[0]]


def print_log(run: Run, part: str, form: Format) -> None:
    """Prints what a cell's model and libraries printed; one sentence on stderr if there is nothing.

    Raises:
        InputError: for a format that is for tables.
    """
    if form not in ("table", "json"):
        raise InputError(f"--log is text: expected --format table or json, got {form}")
    cell = find_cell(run, part).cell
    text = log_text(run, cell)
    if form == "json":
        emit(form, {"cell": cell, "log": text or None}, ())
    elif text:
        write(text)
    if not text:
        warn(f"cell {cell} has no log: nothing was printed while it was collected")


def log_text(run: Run, cell: str) -> str:
    """Returns what a cell's model and its libraries printed, or "".

    Colours are left out, the steps of progress bars stand on lines of their own, and whatever else
    a terminal would obey is written as escapes: a model's output is not to be trusted.
    """
    try:
        content = (run.layout.cell(cell) / LOG).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    text = visible(_COLOURS.sub("", content))  # \r is a newline already, as Python reads text
    return text if not text or text.endswith("\n") else f"{text}\n"


_HEADS = {
    "seconds": "wall", "cpu_seconds": "CPU", "device_seconds": "device", "forwards": "forwards",
    "backwards": "backwards", "peak_memory": "peak memory", "tasks": "tasks",
    "attempts": "attempts", "cached": "cached",
}  # fmt: skip
_TIMES = frozenset({"seconds", "cpu_seconds", "device_seconds"})


def print_costs(run: Run, form: Format, quiet: bool) -> None:
    """Prints a line a cell and, last, all of them together."""
    found = costs(run)
    whole = total(found)
    raw = form == "csv"
    lines = [*found, {**whole, "cell": "all" if raw else f"all {len(found)}"}]
    heads = list(_HEADS if raw else _HEADS.values())
    rows = [
        [line["cell"], *(line[name] if raw else _word(name, line[name]) for name in _HEADS)]
        for line in lines
    ]
    spare = ("attempts", "tasks", "cached", "backwards", "device")
    table = Table(("cell", *heads), rows, f"Costs of run {run.id}", right=heads, spare=spare)
    emit(form, {"run": run.id, "cells": found, "total": whole}, [table])
    if form != "json" and not raw:
        for note in _footnotes(run, found, whole):
            NotePrinter(quiet)(note)


def cost_facts(run: Run, cost: Mapping[str, Any]) -> dict[str, str]:
    """Returns a cost as facts; unknown ones have a dash and a reason."""
    words = {head: _word(name, cost[name]) for name, head in _HEADS.items()}
    why = no_device_seconds(run, [cost])
    return words | ({"note": why} if why else {})


def _word(name: str, value: Any) -> str:

    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _TIMES:
        return duration(value)
    return size_text(value) if name == "peak_memory" else show_count(value)


def _footnotes(run: Run, found: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]) -> list[str]:

    asked = [cost for cost in found if cost["seconds"] is not None]
    notes = [
        "Wall is the time of a cell's tasks, added up over workers and attempts; CPU is that of "
        "all their threads; forwards and backwards count samples. The last line adds up; its peak "
        "is the highest."
    ]
    if len(asked) < len(found):
        notes.append(
            f"{DASH} in a whole line: the cell asked no model anything. It was computed from other "
            "cells, or failed before."
        )
    counts = {head: whole["known"].get(name) for name, head in _HEADS.items()}
    part = [f"{head} of {count}" for head, count in counts.items() if count and count < len(asked)]
    if part:
        part_of = f"Of {len(asked)} cells that asked a model, the last line has {', '.join(part)}."
        notes.append(part_of)
    why = no_device_seconds(run, asked)
    return [*notes, *([f"{DASH}: {why}."] if why else [])]


_CELL_COLUMNS = (
    "cell", "model", "data", "scenario", "status", "verdict", "n", "seconds", "findings", "reason",
)  # fmt: skip
_PARITY_COLUMNS = (
    "second", "first", "data", "agree", "samples", "label_flips", "largest_difference",
    "suspicion", "reason",
)  # fmt: skip
_METRIC_COLUMNS = (
    "model", "data", "suite", "scenario", "point", "group", "metric", "value", "lower", "upper",
    "n", "verdict", "reason",
)  # fmt: skip


def print_summary(run: Run, policy_file: Path | None, quiet: bool) -> None:

    print_scorecard(run, policy_of(policy_file))
    draw(lambda target: print_findings(target, run, notes=False))
    note = NotePrinter(quiet)
    if not run.finished:
        note("the run is not finished: the same command resumes it")
    if not run.packed:
        report = run.layout.report
        note(f"report: {report}" if report.is_file() else f"folder: {run.root}")


def print_numbers(run: Run) -> None:

    board = leaderboard([run])
    draw(lambda target: print_leaderboard(target, board))


def print_whole(
    run: Run, form: Format, *, quiet: bool, spec: bool, costs: bool, cell: str | None
) -> int:
    """Prints what is more than tables; without any of them, the log of `cell`."""
    if spec:
        write(run.layout.spec.read_text(encoding="utf-8"))
    elif costs:
        print_costs(run, form, quiet)
    elif cell is not None:
        print_log(run, cell, form)
    return 0


def run_view(run: Run, *, cells_first: bool) -> tuple[Any, list[Table]]:

    cells = [{**row, "seconds": cost_of(run, row["cell"])["seconds"]} for row in show_cells(run)]
    models = [{"data": data, **info.as_dict()} for (_, data), info in run.models.items()]
    # What a bundle is unpacked into is gone when this is read.
    folder = None if run.packed else str(run.root)
    document: dict[str, Any] = {
        "run": run.id, "folder": folder, "finished": run.finished, "spec": run.spec,
        "models": models, "data": [card.as_dict() for card in run.cards.values()], "cells": cells,
    }  # fmt: skip
    pairs = pairs_of(run)
    if pairs:
        document["parity"] = [pair.as_dict() for pair in pairs]
    parity = [record_table("Parity", document["parity"], _PARITY_COLUMNS)] if pairs else []
    rows = [[row[name] for name in _CELL_COLUMNS] for row in cells]
    tables = [
        fact_table(
            {**show_run(run), "finished": "yes" if run.finished else "no: the same command resumes",
             **({"folder": folder} if folder else {})}
        ),
        record_table("Models", models, ("name", "data", "uri", "capabilities")),
        record_table(
            "Data", document["data"], ("name", "uri", "counts", "target", "groups", "licence")
        ),
        *parity,
        Table(
            title="Cells", columns=_CELL_COLUMNS, rows=rows, folds={"cell": 30, "reason": 30},
            spare=("model", "data", "scenario", "findings", "seconds"),
        ),
    ]  # fmt: skip
    return document, [tables[-1]] if cells_first else tables


def model_view(run: Run, name: str) -> tuple[Any, list[Table]]:

    found = show_model(run, name)
    depends = dependencies(run, name)
    title, rows = dependency_rows(depends)
    document = [
        {"data": data, **info.as_dict(), "depends_on": depends}
        for (model, data), info in run.models.items()
        if model == name
    ]
    tables = [fact_table(entry, f"{name} on {data}") for data, entry in found.items()]
    return document, [*tables, Table(("kind", "name", "digest"), rows, title, headless=True)]


def data_view(run: Run, name: str) -> tuple[Any, list[Table]]:

    shown = show_data(run, name)  # says which there are if there is none of that name
    return run.cards[name].as_dict(), [fact_table(shown, name)]


def opened(text: str, quiet: bool) -> DataCard:
    """Opens a data set and returns its card."""
    from crucibench import registry
    from crucibench.api import named_entry
    from crucibench.contracts.source import DataOpening
    from crucibench.contracts.uri import parse_uri
    from crucibench.data.evalset import open_data
    from crucibench.util.folders import cache_folder

    entry = named_entry(text)
    name, uri = entry["name"], parse_uri(entry["uri"])
    source = registry.sources().get(uri.scheme)
    NotePrinter(quiet)(f"reading {name}")
    opening = DataOpening(name=name, uri=uri, base=Path.cwd(), scratch=cache_folder())
    return open_data(source(), opening).card


def metrics_view(run: Run, filters: Sequence[str], *, long: bool) -> tuple[Any, list[Table]]:

    frame = _filtered(run.metrics(), filters)
    names = list(frame.columns) if long else list(_METRIC_COLUMNS)
    values = frame[names].astype(object).where(frame[names].notna(), None)
    rows = values.to_numpy().tolist()
    return values.to_dict("records"), [Table(columns=names, rows=rows)]


def _filtered(frame: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:

    for text in filters:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise InputError(f"--where {text!r}: expected COLUMN=PATTERN")
        if name not in frame.columns:
            raise InputError(f"--where: {unknown('column', name, frame.columns)}")
        fits = [fnmatchcase(str(value), pattern) for value in frame[name].fillna("")]
        frame = frame.loc[fits]
    return frame
