"""``crucibench list``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from crucibench.cli._options import FORMAT, OUT, QUIET, Format, examples

if TYPE_CHECKING:
    from crucibench.cli._output import Notes, Table
    from crucibench.util.registry import Registry

What = Literal["models", "data", "suites", "runs"]

_TITLES = {
    "models": "Model schemes (SCHEME:REST)",
    "data": "Data schemes (SCHEME:REST)",
    "suites": "Suites",
    "runs": "Runs",
}
_COLUMNS = ("kind", "name", "package", "version", "description", "error")
_RUN_COLUMNS = (
    "run", "started", "finished", "models", "data", "suites", "valid", "suspect", "invalid",
    "failed", "skipped", "error",
)  # fmt: skip


@click.command(
    epilog=examples(
        "crucibench list", "crucibench list suites --format json", "crucibench list runs"
    )
)
@click.argument("what", required=False, type=click.Choice(["models", "data", "suites", "runs"]),
                metavar="[models|data|suites|runs]")  # fmt: skip
@OUT
@FORMAT
@QUIET
def command(*, what: What | None, out: Path, form: Format, quiet: bool) -> int:
    """List what is installed, or the runs that there are.

    Without an argument: the schemes of models and data, and the suites, with the package that
    registers each. A plug-in that can't be loaded is listed with the reason.
    """
    from crucibench.cli._output import Notes, emit

    kinds: list[str] = [what] if what else ["models", "data", "suites"]
    rows = {kind: _runs(out) if kind == "runs" else _registered(kind) for kind in kinds}
    if form == "csv" and len(kinds) > 1:
        rows = {"all": [row for found in rows.values() for row in found]}
    tables = [_table(kind, found, short=form == "table") for kind, found in rows.items()]
    emit(form, rows[what] if what else rows, tables)
    _say(rows, out, Notes(quiet), whole=form == "table")
    return 0


def _table(kind: str, rows: list[dict[str, Any]], *, short: bool) -> Table:
    from crucibench.cli._output import Table

    columns: tuple[str, ...] = _RUN_COLUMNS if kind == "runs" else _COLUMNS
    titled = kind in _TITLES
    if titled:
        columns = tuple(name for name in columns if name != "kind")
    if short:
        # A long error would tear the table apart; it is told below, in full.
        columns = tuple(name for name in columns if name != "error")
        rows = [{**row, "description": "can't be loaded"} if row["error"] else row for row in rows]
    return Table(
        title=_TITLES.get(kind, ""), columns=columns,
        rows=[[row[name] for name in columns] for row in rows],
    )  # fmt: skip


def _registered(kind: str) -> list[dict[str, Any]]:
    from crucibench import registry
    from crucibench.util.errors import InputError

    registries: dict[str, Callable[[], Registry[Any]]] = {
        "models": registry.adapters, "data": registry.sources, "suites": registry.suites,
    }  # fmt: skip
    known = registries[kind]()
    rows = []
    for entry in known.entries():
        description, error = "", ""
        try:
            description = _description(known.get(entry.name))
        except InputError as cause:
            error = str(cause)
        rows.append(
            {
                "kind": kind, "name": entry.name, "package": entry.package,
                "version": entry.version, "description": description, "error": error,
            }
        )  # fmt: skip
    return rows


def _description(loaded: type[Any]) -> str:
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
    from crucibench.util.errors import CrucibenchError

    row: dict[str, Any] = dict.fromkeys(_RUN_COLUMNS)
    row |= {"run": run.id, "started": _started(run.layout.events), "finished": run.finished}
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


def _started(events: Path) -> str:
    import datetime
    import json

    try:
        with events.open(encoding="utf-8") as stream:
            begun = json.loads(stream.readline())["time"]
        return datetime.datetime.fromtimestamp(begun, datetime.UTC).strftime("%Y-%m-%d %H:%M")
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _say(rows: dict[str, list[dict[str, Any]]], out: Path, note: Notes, *, whole: bool) -> None:
    if not rows.get("runs", True):
        note(f"there is no run in {str(out)!r} yet")
    for found in rows.values():
        for row in found:
            if row["error"]:
                name = row.get("name") or row["run"]
                note(row["error"] if whole else f"{name} can't be used: its error says why")
