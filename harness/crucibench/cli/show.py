"""``crucibench show``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._options import (
    FORMAT,
    OUT,
    POLICY,
    QUIET,
    RUN,
    Format,
    examples,
    find_any_run,
    require,
)
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
from crucibench.report.format import DASH, duration, show_count
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.contracts.data import DataCard
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run


LOG = "log.txt"
_APART = frozenset({"findings", "comparison", "identity", "numerics", "detail", "format_version"})
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def cell_view(run: Run, part: str) -> tuple[Any, list[Table]]:
    """Returns all that is known of a cell: as a document, and as tables."""
    from crucibench.report.facts import cost_of, flat

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
    from crucibench.util.suggest import unknown

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
    from crucibench.report.facts import costs, total

    found = costs(run)
    whole = total(found)
    lines, raw = [*found, {**whole, "cell": f"all {len(found)}"}], form == "csv"
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
    from crucibench.report.facts import no_device_seconds

    words = {head: _word(name, cost[name]) for name, head in _HEADS.items()}
    why = no_device_seconds(run, [cost])
    return words | ({"note": why} if why else {})


def _word(name: str, value: Any) -> str:
    from crucibench.util.numbers import size_text

    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _TIMES:
        return duration(value)
    return size_text(value) if name == "peak_memory" else show_count(value)


def _footnotes(run: Run, found: Sequence[Mapping[str, Any]], whole: Mapping[str, Any]) -> list[str]:
    from crucibench.report.facts import no_device_seconds

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


def print_timeline(run: Run, form: Format) -> None:
    """Prints when each cell was under way, the attempts of the run, and the workers lost."""
    from crucibench.report.timeline import ATTEMPT, CELL, LOSS, timeline

    found = timeline(run)
    tables = [
        record_table("Cells", found["cells"], CELL)._replace(
            spare=("cell", "retries", "cached", "tasks", "workers", "verdict", "data")
        ),
        record_table("Attempts", found["attempts"], ATTEMPT),
        record_table("Workers lost", found["workers_lost"], LOSS),
    ]
    emit(form, found, [tables[0], *(table for table in tables[1:] if table.rows)])
    for count, what in (
        (found["skipped_cells"], "cells were skipped by plan"),
        (found["unreadable_lines"], "lines of the log can't be read and are left out"),
    ):
        if count and form in {"table", "md"}:
            warn(f"{count} {what}")


_EPILOG = examples(
    "crucibench show latest",
    "crucibench show latest --cell accuracy-clean",
    "crucibench show latest --metrics --where metric=top-1 --format csv",
    "crucibench show latest --timeline",
    'crucibench show --data "csv:people.csv?target=income"',
)

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


@click.command(epilog=_EPILOG)
@RUN
@click.option(
    "--cell",
    metavar="ID",
    help="One cell, by its id or a part that it alone has: "
    "status, costs, findings, digests, comparison fields.",
)
@click.option("--log", is_flag=True, help="With --cell: what its model and libraries printed.")
@click.option("--model", metavar="NAME", help="What inspection found about a model.")
@click.option(
    "--data",
    metavar="NAME|URI",
    help="The card of a data set of the run; or open a URI and show its card.",
)
@click.option("--metrics", is_flag=True, help="Every number, long form.")
@click.option(
    "--where",
    "filters",
    multiple=True,
    metavar="COLUMN=PATTERN",
    help="With --metrics: only rows whose column fits; * fits anything.",
)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="Facts, models, data and cells of the run, and all headline numbers.",
)
@click.option("--timeline", is_flag=True, help="When each cell was under way, and on how much.")
@click.option("--costs", is_flag=True, help="What each cell cost: time, passes, memory.")
@click.option("--spec", is_flag=True, help="The resolved spec: running it reproduces the run.")
@click.option("--env", is_flag=True, help="Versions, hardware and flags it was made on.")
@POLICY
@OUT
@FORMAT
@QUIET
def command(
    *,
    reference: str,
    everything: bool,
    cell: str | None,
    log: bool,
    model: str | None,
    data: str | None,
    metrics: bool,
    filters: tuple[str, ...],
    timeline: bool,
    costs: bool,
    spec: bool,
    env: bool,
    policy_file: Path | None,
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Show a run, one of its cells, or a data set.

    RUN is a path, the start of an id, or latest (the default). Without an option: which model to
    ship, a number an axis of each, and what the audits found.
    """
    asked = {"--all": everything, "--cell": cell, "--model": model, "--data": data,
             "--metrics": metrics, "--timeline": timeline, "--costs": costs, "--spec": spec,
             "--env": env}  # fmt: skip
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"expected one of {' and '.join(given)}, not both")
    if policy_file is not None and (given or form != "table"):
        raise click.UsageError("--policy is for the decision, which the plain scorecard shows")
    require("--metrics", metrics, {"--where": filters})
    require("--cell", cell, {"--log": log})

    if data is not None and ":" in data:
        from crucibench.report.facts import card_facts

        card = _opened(data, quiet)
        emit(form, card.as_dict(), [fact_table(card_facts(card), card.name)])
        return 0

    run = find_any_run(reference, out)
    if (spec and form == "table") or timeline or costs or log:
        return _print(run, form, quiet=quiet, spec=spec, timeline=timeline, costs=costs, cell=cell)
    if metrics:
        document, tables = _metrics(run, filters, long=form in {"json", "csv"})
    elif cell is not None:
        document, tables = cell_view(run, cell)
    elif model is not None:
        document, tables = _model(run, model)
    elif data is not None:
        document, tables = _data(run, data)
    elif env or spec:
        from crucibench.report.facts import flat

        document = dict(run.environment if env else run.spec)
        tables = [fact_table(flat(document))]
    elif form == "table" and not everything:
        _print_summary(run, policy_file, quiet)
        return 0
    else:
        document, tables = _run(run, cells_first=form == "csv")
    emit(form, document, tables)
    if everything and form == "table":
        _print_numbers(run)
    return 0


def _print_summary(run: Run, policy_file: Path | None, quiet: bool) -> None:
    from crucibench.cli._evaluation import policy_of, print_scorecard
    from crucibench.report.terminal import print_findings

    print_scorecard(run, policy_of(policy_file))
    draw(lambda target: print_findings(target, run, notes=False))
    note = NotePrinter(quiet)
    if not run.finished:
        note("the run is not finished: the same command resumes it")
    if not run.packed:
        report = run.layout.report
        note(f"report: {report}" if report.is_file() else f"folder: {run.root}")


def _print_numbers(run: Run) -> None:
    from crucibench.report.leaderboard import leaderboard
    from crucibench.report.terminal import print_leaderboard

    board = leaderboard([run])
    draw(lambda target: print_leaderboard(target, board))


def _print(
    run: Run,
    form: Format,
    quiet: bool,
    *,
    spec: bool,
    timeline: bool,
    costs: bool,
    cell: str | None,
) -> int:
    """Prints what is more than tables; without any of them, the log of `cell`."""
    if spec:
        write(run.layout.spec.read_text(encoding="utf-8"))
    elif timeline:
        print_timeline(run, form)
    elif costs:
        print_costs(run, form, quiet)
    elif cell is not None:
        print_log(run, cell, form)
    return 0


def _run(run: Run, *, cells_first: bool) -> tuple[Any, list[Table]]:
    from crucibench.comparing.run_parity import pairs_of
    from crucibench.report.facts import cost_of, show_cells, show_run

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


def _model(run: Run, name: str) -> tuple[Any, list[Table]]:
    from crucibench.report.facts import dependencies, dependency_rows, show_model

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


def _data(run: Run, name: str) -> tuple[Any, list[Table]]:
    from crucibench.report.facts import show_data

    shown = show_data(run, name)  # says which there are if there is none of that name
    return run.cards[name].as_dict(), [fact_table(shown, name)]


def _opened(text: str, quiet: bool) -> DataCard:
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


def _metrics(run: Run, filters: Sequence[str], *, long: bool) -> tuple[Any, list[Table]]:

    frame = _filtered(run.metrics(), filters)
    names = list(frame.columns) if long else list(_METRIC_COLUMNS)
    values = frame[names].astype(object).where(frame[names].notna(), None)
    rows = values.to_numpy().tolist()
    return values.to_dict("records"), [Table(columns=names, rows=rows)]


def _filtered(frame: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    from fnmatch import fnmatchcase

    from crucibench.util.suggest import unknown

    for text in filters:
        name, equals, pattern = text.partition("=")
        if not equals:
            raise InputError(f"--where {text!r}: expected COLUMN=PATTERN")
        if name not in frame.columns:
            raise InputError(f"--where: {unknown('column', name, frame.columns)}")
        fits = [fnmatchcase(str(value), pattern) for value in frame[name].fillna("")]
        frame = frame.loc[fits]
    return frame
