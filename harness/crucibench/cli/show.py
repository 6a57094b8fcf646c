"""``crucibench show``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, RUN, Format, examples
from crucibench.cli._tables import facts, flat, records

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.cli._output import Table
    from crucibench.contracts.data import DataCard
    from crucibench.store.run import Run

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
@click.option("--timeline", is_flag=True, help="When each cell was under way, and on how much.")
@click.option("--costs", is_flag=True, help="What each cell cost: time, passes, memory.")
@click.option("--spec", is_flag=True, help="The resolved spec: running it reproduces the run.")
@click.option("--env", is_flag=True, help="Versions, hardware and flags it was made on.")
@OUT
@FORMAT
@QUIET
def command(
    *,
    reference: str,
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
    out: Path,
    form: Format,
    quiet: bool,
) -> int:
    """Show a run, one of its cells, or a data set.

    RUN is a path, the start of an id, or latest (the default). Without an option: models, data and
    cells of the run.
    """
    asked = {"--cell": cell, "--model": model, "--data": data, "--metrics": metrics,
             "--timeline": timeline, "--costs": costs, "--spec": spec, "--env": env}  # fmt: skip
    given = [name for name, value in asked.items() if value]
    if len(given) > 1:
        raise click.UsageError(f"expected one of {' and '.join(given)}, not both")
    if filters and not metrics:
        raise click.UsageError("--where goes with --metrics")
    if log and cell is None:
        raise click.UsageError("--log goes with --cell")

    from crucibench.cli._output import emit

    if data is not None and ":" in data:
        card = _opened(data, quiet)
        emit(form, card.as_dict(), [_card_table(card)])
        return 0

    from crucibench.cli._runs import found

    run = found(reference, out)
    if (spec and form == "table") or timeline or costs or log:
        _print(run, form, spec=spec, timeline=timeline, costs=costs, cell=cell)
        return 0
    if metrics:
        document, tables = _metrics(run, filters, long=form in {"json", "csv"})
    elif cell is not None:
        from crucibench.cli._cell import cell_view

        document, tables = cell_view(run, cell)
    elif model is not None:
        document, tables = _model(run, model)
    elif data is not None:
        document, tables = _data(run, data)
    elif env or spec:
        document = dict(run.environment if env else run.spec)
        tables = [facts(flat(document))]
    else:
        document, tables = _run(run, cells_first=form == "csv")
    emit(form, document, tables)
    return 0


def _print(
    run: Run, form: Format, *, spec: bool, timeline: bool, costs: bool, cell: str | None
) -> None:
    """Prints what is more than tables; without any of them, the log of `cell`."""
    from crucibench.cli._output import write

    if spec:
        write(run.layout.spec.read_text(encoding="utf-8"))
    elif timeline:
        from crucibench.cli._timeline import print_timeline

        print_timeline(run, form)
    elif costs:
        from crucibench.cli._costs import print_costs

        print_costs(run, form)
    elif cell is not None:
        from crucibench.cli._cell import print_log

        print_log(run, cell, form)


def _run(run: Run, *, cells_first: bool) -> tuple[Any, list[Table]]:
    from crucibench.cli._output import Table
    from crucibench.comparing.run_parity import pairs_of
    from crucibench.report.costs import cost_of
    from crucibench.report.show import show_cells, show_run

    cells = [{**row, "seconds": cost_of(run, row["cell"]).seconds} for row in show_cells(run)]
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
    parity = [records("Parity", document["parity"], _PARITY_COLUMNS)] if pairs else []
    rows = [[row[name] for name in _CELL_COLUMNS] for row in cells]
    tables = [
        facts(
            {**show_run(run), "finished": "yes" if run.finished else "no: the same command resumes",
             **({"folder": folder} if folder else {})}
        ),
        records("Models", models, ("name", "data", "uri", "capabilities")),
        records("Data", document["data"], ("name", "uri", "counts", "target", "groups", "licence")),
        *parity,
        Table(title="Cells", columns=_CELL_COLUMNS, rows=rows),
    ]  # fmt: skip
    return document, [tables[-1]] if cells_first else tables


def _model(run: Run, name: str) -> tuple[Any, list[Table]]:
    from crucibench.report.show import show_model

    found = show_model(run, name)
    document = [
        {"data": data, **info.as_dict()}
        for (model, data), info in run.models.items()
        if model == name
    ]
    return document, [facts(entry, f"{name} on {data}") for data, entry in found.items()]


def _data(run: Run, name: str) -> tuple[Any, list[Table]]:
    from crucibench.report.show import show_data

    shown = show_data(run, name)  # says which there are if there is none of that name
    return run.cards[name].as_dict(), [facts(shown, name)]


def _card_table(card: DataCard) -> Table:
    from crucibench.report.provenance import card_facts

    return facts(card_facts(card), card.name)


def _opened(text: str, quiet: bool) -> DataCard:
    """Opens a data set and returns its card."""
    from crucibench import registry
    from crucibench.api import default_name
    from crucibench.cli._output import Notes
    from crucibench.contracts.source import DataOpening
    from crucibench.contracts.uri import parse_uri, split_name
    from crucibench.data.evalset import open_data
    from crucibench.util.folders import cache_folder

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
