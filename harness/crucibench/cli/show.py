"""``crucibench show``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, RUN, Format, examples

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.cli._output import Table
    from crucibench.contracts.data import DataCard
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run

_EPILOG = examples(
    "crucibench show latest",
    "crucibench show latest --cell accuracy-clean",
    "crucibench show latest --metrics --where metric=top-1 --format csv",
    'crucibench show --data "csv:people.csv?target=income"',
)

_CELL_COLUMNS = (
    "cell", "model", "data", "scenario", "status", "verdict", "n", "seconds", "findings", "reason",
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
    "status, findings, digests, comparison fields.",
)
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
@click.option("--spec", is_flag=True, help="The resolved spec: running it reproduces the run.")
@click.option("--env", is_flag=True, help="Versions, hardware and flags it was made on.")
@OUT
@FORMAT
@QUIET
def command(
    *,
    reference: str,
    cell: str | None,
    model: str | None,
    data: str | None,
    metrics: bool,
    filters: tuple[str, ...],
    spec: bool,
    env: bool,
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Show a run, one of its cells, or a data set.

    RUN is a path, the start of an id, or latest (the default). Without an option: models, data and
    cells of the run.
    """
    asked = {"--cell": cell, "--model": model, "--data": data, "--metrics": metrics,
             "--spec": spec, "--env": env}  # fmt: skip
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"expected one of {' and '.join(given)}, not both")
    if filters and not metrics:
        raise click.UsageError("--where goes with --metrics")

    from crucibench.cli._output import emit, write

    if data is not None and ":" in data:
        card = _opened(data, quiet)
        emit(form, card.as_dict(), [_card_table(card)])
        return 0

    from crucibench.cli._runs import found

    run = found(reference, out)
    if spec and form == "table":
        write(run.layout.spec.read_text(encoding="utf-8"))
        return 0
    if metrics:
        document, tables = _metrics(run, filters, long=form in {"json", "csv"})
    elif cell is not None:
        document, tables = _cell(run, cell)
    elif model is not None:
        document, tables = _model(run, model)
    elif data is not None:
        document, tables = _data(run, data)
    elif env or spec:
        document = dict(run.environment if env else run.spec)
        tables = [_facts(_flat(document))]
    else:
        document, tables = _run(run, cells_first=form == "csv")
    emit(form, document, tables)
    return 0


def _run(run: Run, *, cells_first: bool) -> tuple[Any, list[Table]]:
    from crucibench.cli._output import Table
    from crucibench.report import show_cells, show_run

    cells = [{**row, "seconds": _seconds(run, row["cell"])} for row in show_cells(run)]
    models = [{"data": data, **info.as_dict()} for (_, data), info in run.models.items()]
    document: dict[str, Any] = {
        "run": run.id, "folder": str(run.root), "finished": run.finished, "spec": run.spec,
        "models": models, "data": [card.as_dict() for card in run.cards.values()], "cells": cells,
    }  # fmt: skip
    rows = [[row[name] for name in _CELL_COLUMNS] for row in cells]
    tables = [
        _facts(
            {**show_run(run), "finished": "yes" if run.finished else "no: the same command resumes",
             "folder": str(run.root)}
        ),
        _rows("Models", models, ("name", "data", "uri", "capabilities")),
        _rows("Data", document["data"], ("name", "uri", "counts", "target", "groups", "licence")),
        Table(title="Cells", columns=_CELL_COLUMNS, rows=rows),
    ]  # fmt: skip
    return document, [tables[-1]] if cells_first else tables


def _cell(run: Run, part: str) -> tuple[Any, list[Table]]:
    from crucibench.cli._output import Table

    cell = _find_cell(run, part)
    document = {**cell.model_dump(mode="json"), "seconds": _seconds(run, cell.cell)}
    facts = {key: value for key, value in document.items() if key not in _APART and value != ""}
    facts |= {
        key: part.digest
        for key, part in (("identity", cell.identity), ("numerics", cell.numerics))
        if part
    }
    findings = [[str(f.severity), f.code, f.message, f.cell] for f in cell.findings]
    tables = [_facts({name: value for name, value in facts.items() if value not in ([], {}, None)})]
    tables.append(
        Table(title="Findings", columns=("severity", "code", "finding", "from"), rows=findings)
    )
    for title, fields in (
        ("Comparison fields", cell.comparison),
        ("Identity", cell.identity.fields if cell.identity else {}),
        ("Numerics", cell.numerics.fields if cell.numerics else {}),
    ):
        tables.append(_facts(_flat(fields), title))
    if cell.detail:
        tables.append(Table(title="What it raised", columns=("",), rows=[[cell.detail]],
                            headless=True))  # fmt: skip
    return document, [table for table in tables if table.rows]


_APART = frozenset({"findings", "comparison", "identity", "numerics", "detail", "format_version"})


def _find_cell(run: Run, part: str) -> CellFile:
    from crucibench.util.errors import InputError
    from crucibench.util.suggest import unknown

    if part in run.cells:
        return run.cells[part]
    fitting = [name for name in run.cells if part in name]
    if not fitting:
        raise InputError(unknown("cell", part, run.cells))
    if len(fitting) > 1:
        raise InputError(f"cell {part!r} fits several: {', '.join(fitting)}")
    return run.cells[fitting[0]]


def _model(run: Run, name: str) -> tuple[Any, list[Table]]:
    from crucibench.report import show_model

    facts = show_model(run, name)
    document = [
        {"data": data, **info.as_dict()}
        for (model, data), info in run.models.items()
        if model == name
    ]
    return document, [_facts(entry, f"{name} on {data}") for data, entry in facts.items()]


def _data(run: Run, name: str) -> tuple[Any, list[Table]]:
    from crucibench.report import show_data

    facts = show_data(run, name)
    return run.cards[name].as_dict(), [_facts(facts, name)]


def _card_table(card: DataCard) -> Table:
    from crucibench.report.provenance import card_facts

    return _facts(card_facts(card), card.name)


def _opened(text: str, quiet: bool) -> DataCard:
    """Opens a data set and returns its card."""
    from crucibench import registry
    from crucibench.api import cache_folder, default_name
    from crucibench.cli._output import Notes
    from crucibench.contracts.source import DataOpening
    from crucibench.contracts.uri import parse_uri, split_name
    from crucibench.data.evalset import open_data

    name, address = split_name(text)
    uri = parse_uri(address)
    name = name or default_name(address)
    source = registry.sources().get(uri.scheme)
    Notes(quiet)(f"reading {name}")
    opening = DataOpening(name=name, uri=uri, base=Path.cwd(), scratch=cache_folder())
    return open_data(source(), opening).card


def _metrics(run: Run, filters: Sequence[str], *, long: bool) -> tuple[Any, list[Table]]:
    from crucibench.cli._output import Table

    frame = _filtered(run.metrics(), filters)
    names = list(frame.columns) if long else list(_METRIC_COLUMNS)
    values = frame[names].astype(object).where(frame[names].notna(), None)
    rows = values.to_numpy().tolist()
    return values.to_dict("records"), [Table(columns=names, rows=rows)]


def _filtered(frame: pd.DataFrame, filters: Sequence[str]) -> pd.DataFrame:
    from fnmatch import fnmatchcase

    from crucibench.util.errors import InputError
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


def _seconds(run: Run, cell: str) -> float | None:
    import json

    try:
        seconds = json.loads(run.layout.timing(cell).read_text(encoding="utf-8"))["seconds"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(seconds)


def _facts(facts: Mapping[str, Any], title: str = "") -> Table:
    from crucibench.cli._output import Table

    rows = [[name, value] for name, value in facts.items()]
    return Table(title=title, columns=("fact", "value"), rows=rows, headless=True)


def _rows(title: str, records: Sequence[Mapping[str, Any]], columns: tuple[str, ...]) -> Table:
    from crucibench.cli._output import Table

    return Table(
        title=title, columns=columns, rows=[[row[name] for name in columns] for row in records]
    )


def _flat(document: Mapping[str, Any]) -> dict[str, str]:
    from crucibench.report.provenance import flat

    return flat(document, "")
