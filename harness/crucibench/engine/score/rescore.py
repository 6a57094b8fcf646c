"""Score a finished run again from its records, without models and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crucibench.contracts.verdict import Status
from crucibench.engine.plan.cell_files import (
    comparison_fields,
    planned_file,
    scoring_options,
    suites_as_data,
)
from crucibench.engine.plan.plan import Plan, PlannedCell, make_plan
from crucibench.engine.resolve.resolve import Resolved, offline
from crucibench.engine.score.score import Scorer, finish
from crucibench.store.cells import CellFile, write_cell
from crucibench.store.lock import exclusive
from crucibench.store.manifest import differences, read_manifest, write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import rows_to_table, write_table
from crucibench.util.atomic import remove_leftovers, write_json
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.libraries import package_version


def rescored(run: Run) -> tuple[dict[str, CellFile], pa.Table, Plan, Resolved]:
    """Computes cell files and metric rows from the records; writes tables, nothing else.

    Raises:
        InputError: if a suite of the run is not installed, or the run is read from a pack.
    """
    if run.packed:
        raise InputError("a pack is not scored again: compare and gate do so by themselves")
    resolved = offline(run.spec)
    plan = make_plan(resolved, run.models, run.cards)
    scorer = Scorer(run, scoring_options(resolved))
    files = dict(run.cells)
    rows: list[dict[str, Any]] = []
    for cell in plan:
        if cell.id not in files:
            continue  # a scenario that this version has and the run's version had not
        file, found = finish(cell, _current(cell, files[cell.id], run, resolved), files, scorer)
        files[cell.id] = file
        rows += found
    return files, rows_to_table(rows), plan, resolved


def rescore(run: Run) -> Run:
    """Scores a run again and writes what changed: cells, metric rows, manifest.

    Raises:
        InputError: if another process writes the run.
        UnreadableError: if the run is not finished or not as its manifest says: scoring writes the
            manifest anew, and must not make a changed record look sound.
    """
    if not run.finished:
        read_manifest(run.layout)  # says so
    with exclusive(run.layout.root):
        _check_unchanged(run)
        remove_leftovers(run.layout.root)
        files, table, plan, resolved = rescored(run)
        for cell, file in files.items():
            if file != run.cells[cell]:
                write_cell(run.layout.cell_file(cell), file)
        write_json(run.layout.suites, suites_as_data(resolved, plan))
        write_table(run.layout.metrics, table)
        write_manifest(run.layout, package_version("crucibench"))
    return Run(run.root)


def _check_unchanged(run: Run) -> None:
    changed = differences(run.layout)
    if changed:
        more = (
            f" (and {len(changed) - 1} more; crucibench verify lists them)" if changed[1:] else ""
        )
        raise UnreadableError(
            f"run {run.id} is not as its manifest says, so it is not scored: {changed[0]}{more}"
        )


def _current(cell: PlannedCell, file: CellFile, run: Run, resolved: Resolved) -> CellFile:
    """Returns the file before scoring: a cell that only scoring failed gets another chance."""
    if file.status is Status.SKIPPED or (
        file.status is Status.FAILED and not _has_records(run, file)
    ):
        return file
    seed = resolved.spec.defaults.seed
    kept: Mapping[str, Any] = {
        name: getattr(file, name)
        for name in ("stages", "probes", "facts", "identity", "numerics", "ids_digest")
    }
    comparison = comparison_fields(cell, seed, file.ids_digest, run.environment)
    return planned_file(cell, status=Status.OK, comparison=comparison, **kept)


def _has_records(run: Run, file: CellFile) -> bool:
    if file.kind == "derived":
        return all(run.cells[need].status is Status.OK for need in file.needs.values())
    return bool(file.stages) and all(
        run.layout.shard(file.cell, number, shard).is_file()
        for number, stage in enumerate(file.stages)
        for shard in range(stage.shards)
    )
