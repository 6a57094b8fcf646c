"""Score a finished run again from its records, without models and data."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from crucibench.contracts.scenario import Derived
from crucibench.contracts.verdict import Status
from crucibench.engine.plan.cell_files import (
    PlannedFiles,
    comparison_fields,
    planned_file,
    suites_as_data,
)
from crucibench.engine.plan.plan import Plan, PlannedCell, make_plan
from crucibench.engine.resolve.resolve import Resolved, offline, overridden
from crucibench.engine.score.score import Scorer, conclude, finish
from crucibench.store.cells import CellFile, Digest, write_cell
from crucibench.store.layout import Layout
from crucibench.store.lock import exclusive
from crucibench.store.manifest import differences, read_manifest, write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import rows_to_table, write_table
from crucibench.util import doors
from crucibench.util.atomic import remove_leftovers, write_json, write_text
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.libraries import package_version


def rescored(
    run: Run, *, judge: bool = False
) -> tuple[dict[str, CellFile], pa.Table, Plan, Resolved]:  # fmt: skip
    """Computes cell files and metric rows from the records; writes tables.

    Args:
        run: a finished one.
        judge: whether records that are judgements (`Derived.judges`) are made and written again.

    Raises:
        InputError: if a suite of the run is not installed, or the run is read from a pack.
    """
    if run.packed:
        raise InputError("a pack is not scored again: compare and gate do so by themselves")
    resolved = offline(run.spec)
    plan = make_plan(resolved, run.models, run.cards)
    scorer = Scorer(run, resolved.spec.defaults.scoring)
    files = dict(run.cells)
    rows: list[dict[str, Any]] = []
    seed = resolved.spec.defaults.seed
    identities = PlannedFiles(plan, seed, run.environment, lambda *role: "", {})
    for cell in plan:
        if cell.id not in files:
            continue  # a scenario that this version has and the run's version had not
        file = _current(cell, files[cell.id], run, resolved)
        scenario = cell.scenario
        anew = judge and isinstance(scenario, Derived) and scenario.judges
        if anew and file.status is Status.OK:
            file = file.model_copy(update={"identity": Digest.of(identities.identity(cell))})
        file, found = (conclude if anew else finish)(cell, file, files, scorer)
        files[cell.id] = file
        rows += found
    return files, rows_to_table(rows), plan, resolved


def rescore(run: Run, settings: Mapping[str, Any] | None = None) -> Run:
    """Scores a run again and writes what changed: cells, judgements, metric rows, manifest.

    Args:
        run: a finished one.
        settings: ``SUITE.KEY`` to value, of how records are judged: then the run stays as it is,
            and the one beside it is made that these settings would give.

    Raises:
        InputError: if another process writes the run, or settings change what is asked.
        UnreadableError: if the run is not finished or not as its manifest says: scoring writes the
            manifest anew, and must not make a changed record look sound.
    """
    if not run.finished:
        read_manifest(run.layout)  # says so
    if settings:
        _check_unchanged(run)
        run = _beside(run, settings)
    with exclusive(run.layout.root):
        if not settings:
            _check_unchanged(run)
        remove_leftovers(run.layout.root)
        files, table, plan, resolved = rescored(run, judge=True)
        for cell, file in files.items():
            if file != run.cells[cell]:
                write_cell(run.layout.cell_file(cell), file)
        write_json(run.layout.suites, suites_as_data(resolved, plan))
        write_table(run.layout.metrics, table)
        write_manifest(run.layout, package_version("crucibench"))
    return Run(run.root)


def _beside(run: Run, settings: Mapping[str, Any]) -> Run:
    """Returns a copy of a run under the id and with the spec that other settings give it."""
    resolved = offline(overridden(run.spec, {}, settings))
    plan = make_plan(resolved, run.models, run.cards)
    for cell in plan:
        file = run.cells.get(cell.id)
        now = planned_file(cell, status=Status.OK)
        same = file is not None and all(
            getattr(file, name) == getattr(now, name)
            for name in ("parameters", "points", "version", "role", "limit")
        )
        if file is None or not (same or isinstance(cell.scenario, Derived)):
            raise InputError(
                f"--set {', '.join(settings)}: {cell.scenario.address} would ask something else: "
                "run asks, and --reuse-answers takes what was asked before"
            )
    root = run.root.parent / resolved.run_id
    if root.exists():
        raise InputError(f"--set {', '.join(settings)}: that run is there already: {root.name}")
    temporary = root.with_name(f".{root.name}")
    shutil.copytree(run.root, temporary)
    write_text(Layout(temporary).spec, resolved.document(temporary))
    doors.rename(temporary, root)
    return Run(root)


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
