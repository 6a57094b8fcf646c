"""``crucibench list``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples
from crucibench.cli._output import NotePrinter, Table, emit, record_table
from crucibench.report.format import show_minute
from crucibench.util.errors import CrucibenchError, InputError

_COLUMNS = ("kind", "name", "package", "version", "description", "error")
_RUNS = "runs"
_RUN_COLUMNS = (
    "run", "started", "finished", "models", "data", "suites", "valid", "suspect", "invalid",
    "failed", "skipped", "error",
)  # fmt: skip


@click.command(
    epilog=examples(
        "crucibench list", "crucibench list suites --format json", "crucibench list runs"
    )
)
@click.argument("what", required=False, metavar="[KIND]")
@OUT
@FORMAT
@QUIET
def command(*, what: str | None, out: Path, form: Format, quiet: bool) -> int:
    """List what is installed, or the runs that there are.

    KIND is models, data, suites, tasks, metrics, attacks, detectors, corruptions, audits, sections
    or runs. Without it: all kinds but runs, with the package that registers each
    entry. A plug-in that can't be loaded is listed with the reason.
    """
    from crucibench.registry import KINDS
    from crucibench.util.suggest import unknown

    if what not in {None, _RUNS, *KINDS}:
        raise click.UsageError(unknown("kind", str(what), [*KINDS, _RUNS]))
    if what == _RUNS:
        rows = {what: _runs(out)}
    else:
        rows = {kind: _registered(kind) for kind in ([what] if what else KINDS)}
    shown = rows
    if form == "csv" and not what:
        shown = {"all": [row for found in rows.values() for row in found]}
    tables = [_table(kind, found, short=form == "table") for kind, found in shown.items()]
    emit(form, rows[what] if what else rows, tables)
    _print_notes(rows, out, NotePrinter(quiet), whole=form == "table")
    return 0


def _table(kind: str, rows: list[dict[str, Any]], *, short: bool) -> Table:
    from crucibench.registry import KINDS

    columns: tuple[str, ...] = _RUN_COLUMNS if kind == _RUNS else _COLUMNS
    title = "Runs" if kind == _RUNS else KINDS[kind].title if kind in KINDS else ""
    if title:
        columns = tuple(name for name in columns if name != "kind")
    if short:
        # A long error would tear the table apart; it is printed below, in full.
        columns = tuple(name for name in columns if name != "error")
        rows = [{**row, "description": "can't be loaded"} if row["error"] else row for row in rows]
    return record_table(title, rows, columns)


def _registered(kind: str) -> list[dict[str, Any]]:
    from crucibench.registry import KINDS

    known = KINDS[kind]
    rows = []
    for entry in known.entries():
        description, error = "", ""
        try:
            if known.registry:
                description = _description(known.registry().get(entry.name))
        except InputError as cause:
            error = str(cause)
        rows.append(
            {
                "kind": kind, "name": entry.name, "package": entry.package,
                "version": entry.version, "description": description, "error": error,
            }
        )  # fmt: skip
    return rows


def _description(loaded: Any) -> str:
    import inspect

    text = getattr(loaded, "description", "") or inspect.getdoc(loaded) or ""
    return " ".join(str(text).partition("\n\n")[0].replace("`", "").split())


def _runs(out: Path) -> list[dict[str, Any]]:
    from crucibench.store.run import Run

    folders = [path.parent for path in out.glob("*/spec.yaml")] if out.is_dir() else []
    rows = [_run(Run(folder)) for folder in folders]
    return sorted(rows, key=lambda row: (row["started"], row["run"]), reverse=True)


def _run(run: Any) -> dict[str, Any]:
    from crucibench.report.findings import verdict_counts

    row: dict[str, Any] = dict.fromkeys(_RUN_COLUMNS)
    row |= {"run": run.id, "started": show_minute(run.dates.started), "finished": run.finished}
    row["error"] = ""
    try:
        cells = list(run.cells.values())
        row |= {
            "models": [entry["name"] for entry in run.spec["models"]],
            "data": [entry["name"] for entry in run.spec["data"]],
            "suites": sorted({cell.suite for cell in cells} - {"pass"}),
            **verdict_counts(cells),
        }
    except (CrucibenchError, KeyError, TypeError) as error:
        row["error"] = str(error)
    return row


def _print_notes(
    rows: dict[str, list[dict[str, Any]]], out: Path, note: NotePrinter, *, whole: bool
) -> None:
    if not rows.get(_RUNS, True):
        note(f"there is no run in {str(out)!r} yet")
    for kind, found in rows.items():
        if len(rows) == 1 and kind != _RUNS and not found:
            note(f"no {kind} are registered")
        for row in found:
            if row["error"]:
                name = row.get("name") or row["run"]
                note(row["error"] if whole else f"{name} can't be used: its error says why")
