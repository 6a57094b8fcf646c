"""One cell of a run, as `show --cell` shows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from crucibench.cli._options import Format
from crucibench.cli._output import Table, emit, visible, warn, write
from crucibench.cli._tables import facts, flat

if TYPE_CHECKING:
    from crucibench.store.cells import CellFile
    from crucibench.store.run import Run

LOG = "log.txt"
_APART = frozenset({"findings", "comparison", "identity", "numerics", "detail", "format_version"})
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def cell_view(run: Run, part: str) -> tuple[Any, list[Table]]:
    """Returns all that is known of a cell: as a document, and as tables."""
    from crucibench.cli._costs import cost_facts, cost_record
    from crucibench.report.costs import cost_of

    cell = find_cell(run, part)
    cost = cost_of(run, cell.cell)
    document = {
        **cell.model_dump(mode="json"), "seconds": cost.seconds, "costs": cost_record(cost),
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
        facts(shown),
        facts(cost_facts(run, cost), "Cost"),
        Table(title="Findings", columns=("severity", "code", "finding", "from"), rows=findings),
    ]
    for title, fields in (
        ("Comparison fields", cell.comparison),
        ("Identity", cell.identity.fields if cell.identity else {}),
        ("Numerics", cell.numerics.fields if cell.numerics else {}),
    ):
        tables.append(facts(flat(fields), title))
    if cell.detail:
        tables.append(Table(title="What it raised", columns=("",), rows=[[cell.detail]],
                            headless=True))  # fmt: skip
    return document, [table for table in tables if table.rows]


def find_cell(run: Run, part: str) -> CellFile:
    """Returns a cell by its id, or by a part of it that no other has.

    Raises:
        InputError: if there is none, or there are several.
    """
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


def print_log(run: Run, part: str, form: Format) -> None:
    """Prints what a cell's model and libraries printed; one sentence on stderr if there is nothing.

    Raises:
        InputError: for a format that is for tables.
    """
    from crucibench.util.errors import InputError

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
