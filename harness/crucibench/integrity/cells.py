"""Whether the set of cells is what was planned, and each cell file is in itself as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from crucibench.contracts.verdict import Status, verdict_of
from crucibench.integrity.planned import Planned
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cells import CellFile, Digest
from crucibench.store.run import Run
from crucibench.util.hashing import data_digest

_INSPECTION = "inspection"


def missing_cells(run: Run, planned: Planned) -> Iterator[str]:
    """Yields a sentence for each cell that should be there and is not."""
    there = {
        (file.model, file.data, f"{file.suite}/{file.scenario}") for file in run.cells.values()
    }
    for model, data in dict.fromkeys(planned.pairs):
        inspected = (model, data) in run.models
        if not inspected and (model, data, f"{PASS}/{_INSPECTION}") not in there:
            yield f"models.json: {model!r} meets {data!r}, and nothing says what became of it"
    if run.manifest["crucibench_version"] != _installed():
        return  # another version may have had other scenarios
    for model, data, address in planned.scenarios:
        if (model, data, address) not in there:
            yield f"cells: {address} of {model!r} on {data!r} is planned, and has no cell"


def cell_differences(run: Run, name: str, file: CellFile) -> Iterator[str]:
    """Yields a sentence for each thing in a cell file that can't be so."""
    if file.cell != name:
        yield f"cell.json: it is of cell {file.cell!r}"
    yield from _status(file)
    for key in ("identity", "numerics"):
        digest: Digest | None = getattr(file, key)
        if digest is not None and digest.digest != data_digest(digest.fields):
            yield f"cell.json: the digest of {key} is not that of its fields"
    for alias, other in file.needs.items():
        if other not in run.cells:
            yield f"cell.json: it needs {other!r} (as {alias!r}), which the run does not have"


def _status(file: CellFile) -> Iterator[str]:
    if file.status is not Status.OK:
        if file.verdict is not None:
            yield f"cell.json: it is {file.status}, so expected no verdict, got {file.verdict}"
        if not file.reason:
            yield f"cell.json: it is {file.status} and gives no reason"
        return
    due = verdict_of(finding.as_finding() for finding in file.findings)
    if file.verdict is not due:
        yield f"cell.json: the verdict is {file.verdict or 'missing'}, its findings make it {due}"


def _installed() -> str:
    try:
        return version("crucibench")
    except PackageNotFoundError:
        return "absent"
