"""One run, from a resolved spec to a directory: resolve, inspect, plan, collect, score."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from crucibench import registry
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import to_table
from crucibench.contracts.scenario import Derived, Mapped, Timed
from crucibench.contracts.verdict import Finding, Severity, Status
from crucibench.engine.collect import MODEL_CHANGED, Collector, ModelChangedError
from crucibench.engine.environment import environment, package_version
from crucibench.engine.files import (
    failed_file,
    finish,
    planned_file,
    scoring_options,
    suites_as_data,
)
from crucibench.engine.identity import comparison_fields, identity_fields, numerics_fields
from crucibench.engine.inspect import Models, inspect, open_all_data
from crucibench.engine.inspection import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan import Plan, PlannedCell, make_plan
from crucibench.engine.resolve import Resolved
from crucibench.engine.roles import SelectedRole
from crucibench.engine.score import Scorer
from crucibench.engine.timed import collect_cohort
from crucibench.store.cells import CellFile, Digest, FindingFile, read_cell, write_cell
from crucibench.store.events import Events
from crucibench.store.layout import Layout, slug
from crucibench.store.lock import exclusive
from crucibench.store.manifest import write_manifest
from crucibench.store.run import Run
from crucibench.store.tables import (
    rows_to_table,
    samples_to_table,
    write_blocks,
    write_table,
)
from crucibench.util.atomic import write_json, write_text
from crucibench.util.devices import resolve_device, set_threads
from crucibench.util.errors import CrucibenchError, InputError

_BLOCK = 65536


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is carried out; nothing here changes a result.

    Attributes:
        out: the folder that holds the runs.
        scratch: where indexes of data are kept between runs.
        keep_going: a model that fails inspection fails its own cells only.
        dry_run: stop after the plan.
        fresh: throw away what an earlier run of the same spec left.
        where: what messages call the spec.
    """

    out: Path
    scratch: Path
    keep_going: bool = False
    dry_run: bool = False
    fresh: bool = False
    where: str = "spec"


def execute(resolved: Resolved, options: RunOptions, listener: Listener) -> Run | None:
    """Carries out a run, or resumes it; a finished one without failed cells is returned as it is.

    Returns:
        The run; None after a dry run.

    Raises:
        InputError: before anything is collected.
    """
    layout = Layout(options.out / resolved.run_id)
    _check_writable(options.out)
    if options.fresh and layout.root.is_dir() and not options.dry_run:
        with exclusive(layout.root):
            shutil.rmtree(layout.root)
    if layout.manifest.is_file() and not options.dry_run and _nothing_failed(layout):
        return Run(layout.root)
    defaults = resolved.spec.defaults
    device = resolve_device(defaults.device)
    threads = min(4, os.cpu_count() or 1) if defaults.threads == "auto" else defaults.threads
    set_threads(threads)
    data = open_all_data(resolved, options.scratch, listener, options.where)
    models = Models(resolved, device, {name: entry.card for name, entry in data.items()})
    try:
        inspection = inspect(
            resolved, data, models, listener, options.where, keep_going=options.keep_going
        )
        plan = make_plan(resolved, inspection.models, inspection.cards)
        listener.planned(plan, inspection)
        if options.dry_run:
            return None
        facts = environment(resolved.base, threads, device)
        facts["installed_suites"] = registry.suites().names()
        with exclusive(layout.root):
            runner = _Runner(resolved, layout, plan, inspection, models, facts, listener)
            return runner.run()
    finally:
        models.close()


@dataclass
class _Runner:
    resolved: Resolved
    layout: Layout
    plan: Plan
    inspection: Inspection
    models: Models
    environment: Mapping[str, Any]
    listener: Listener
    files: dict[str, CellFile] = field(default_factory=dict)
    _roles: dict[tuple[str, str, int | None], SelectedRole] = field(default_factory=dict)
    _digests: dict[tuple[str, str, int | None], str] = field(default_factory=dict)

    def run(self) -> Run:
        self.layout.cells.mkdir(parents=True, exist_ok=True)
        events = Events(self.layout.events)
        events.add("started", cells=len(self.plan.cells))
        self._write_inputs()
        run = Run(self.layout.root)
        scorer = Scorer(run, scoring_options(self.resolved))
        rows: dict[str, list[dict[str, Any]]] = {}
        for cohort in self.plan.cohorts():
            for cell, status in self._collect(cohort, scorer):
                file, found = finish(cell, status, self.files, scorer)
                self.files[cell.id] = file
                write_cell(self.layout.cell_file(cell.id), file)
                rows[cell.id] = found
                events.add("cell", cell=cell.id, status=file.status, verdict=file.verdict)
                self.listener.finished(file)
        self._write_failed_inspections()
        in_order = [row for cell in self.plan for row in rows[cell.id]]
        write_table(self.layout.metrics, rows_to_table(in_order))
        write_manifest(self.layout, package_version("crucibench"))
        events.add("finished")
        return Run(self.layout.root)

    # -- what a run holds besides its cells -------------------------------------------------

    def _write_inputs(self) -> None:
        write_text(self.layout.spec, self.resolved.document(self.layout.root))
        write_json(self.layout.environment / "main.json", dict(self.environment))
        models = [
            {"data": data, "model": info.as_dict()}
            for (_, data), info in sorted(self.inspection.models.items())
        ]
        write_json(self.layout.models, models)
        write_json(self.layout.suites, suites_as_data(self.resolved, self.plan))
        for name, card in self.inspection.cards.items():
            path = self.layout.card(name)
            if path.is_file() and Run(self.layout.root).cards[name].fingerprint != card.fingerprint:
                shutil.rmtree(path.parent)
            write_json(path, card.as_dict())
        for data, role in sorted({(c.data.name, c.scenario.role) for c in self.plan}):
            path = self.layout.sample_table(data, role)
            if role in self.inspection.cards[data].counts and not path.is_file():
                selected = self._role(data, role, self.resolved.spec.defaults.limit)
                write_blocks(path, _blocks(selected))

    def _write_failed_inspections(self) -> None:
        for (model, data), error in self.inspection.errors.items():
            cell = f"{slug(model)[:40]}.{slug(data)[:40]}.inspection"
            file = CellFile(
                cell=cell, kind="mapped", model=model, data=data, suite="pass",
                scenario="inspection", version=1, role="test", points=[""],
                status=Status.FAILED, reason=str(error), detail=error.detail or "",
            )  # fmt: skip
            write_cell(self.layout.cell_file(cell), file)
            self.listener.finished(file)

    def _role(self, data: str, role: str, limit: int | None) -> SelectedRole:
        key = (data, role, limit)
        if key not in self._roles:
            evalset = self.inspection.data[data]
            self._roles[key] = SelectedRole(evalset, role, limit, self.resolved.spec.defaults.seed)
        return self._roles[key]

    # -- collecting -------------------------------------------------------------------------

    def _collect(
        self, cohort: Sequence[PlannedCell], scorer: Scorer
    ) -> Iterator[tuple[PlannedCell, CellFile]]:
        if isinstance(cohort[0].scenario, Timed):
            yield from self._timed(cohort)
            return
        for cell in cohort:
            file = self._planned_file(cell)
            self._forget_if_changed(file)
            if file.status is Status.OK:
                self.listener.started(cell, cell.samples)
                file = self._attempt(cell, file, scorer)
            yield cell, file

    def _attempt(self, cell: PlannedCell, file: CellFile, scorer: Scorer) -> CellFile:
        try:
            if isinstance(cell.scenario, Mapped):
                return self._mapped(cell, file, scorer)
            return self._derived(cell, file, scorer)
        except ModelChangedError as error:
            finding = Finding(code="model-changed", severity=Severity.INVALID, message=str(error))
            return failed_file(file, error).model_copy(
                update={"findings": [FindingFile.model_validate(finding.as_dict())]}
            )
        except Exception as error:
            return failed_file(file, error)

    def _mapped(self, cell: PlannedCell, file: CellFile, scorer: Scorer) -> CellFile:
        def needs() -> Mapping[str, CellEvidence]:
            return scorer.evidence(cell, {**self.files, cell.id: file}).needs

        collected = Collector(
            layout=self.layout,
            cell=cell,
            adapter=self.models.get(cell.model.name, cell.data.name),
            role=self._role(cell.data.name, cell.scenario.role, cell.limit),
            needs=needs,
            deadline=time.perf_counter() + self.resolved.spec.defaults.timeout,
            seed=self.resolved.spec.defaults.seed,
            listener=self.listener,
        ).collect()
        write_json(self.layout.timing(cell.id), {"seconds": round(collected.seconds, 6)})
        return file.model_copy(update={"stages": collected.stages, "probes": collected.probes})

    def _derived(self, cell: PlannedCell, file: CellFile, scorer: Scorer) -> CellFile:
        scenario = cell.scenario
        if not isinstance(scenario, Derived):
            raise TypeError(f"{scenario.address}: expected a Mapped, Derived or Timed scenario")
        columns = scenario.derive(scorer.evidence(cell, {**self.files, cell.id: file}))
        if columns is not None:
            write_table(self.layout.shard(cell.id, 0, 0), to_table(columns))
        return file

    def _timed(self, cohort: Sequence[PlannedCell]) -> Iterator[tuple[PlannedCell, CellFile]]:
        files = {cell.id: self._planned_file(cell) for cell in cohort}
        running = []
        for cell in cohort:
            shutil.rmtree(self.layout.cell(cell.id), ignore_errors=True)
            if files[cell.id].status is not Status.OK:
                continue
            try:
                adapter = self.models.get(cell.model.name, cell.data.name, keep=len(cohort))
            except CrucibenchError as error:
                files[cell.id] = failed_file(files[cell.id], error)
                continue
            role = self._role(cell.data.name, cell.scenario.role, cell.limit)
            running.append((cell, adapter, role))
            self.listener.started(cell, 0)
        seed = self.resolved.spec.defaults.seed
        failed = collect_cohort(self.layout, running, seed, self.listener)
        for cell in cohort:
            if cell.id in failed:
                files[cell.id] = failed_file(files[cell.id], failed[cell.id])
            yield cell, files[cell.id]

    def _planned_file(self, cell: PlannedCell) -> CellFile:
        seed = self.resolved.spec.defaults.seed
        status, reason = Status.OK, ""
        if cell.skip:
            status, reason = Status.SKIPPED, cell.skip
        for alias, other in cell.needs.items():
            need = next(entry for entry in cell.scenario.needs if entry.alias == alias)
            if self.files[other].status is Status.FAILED and not need.optional:
                status = Status.FAILED
                reason = f"it needs {need.cell}, which failed: {self.files[other].reason}"
        key = (cell.data.name, cell.scenario.role, cell.limit)
        if key not in self._digests:
            present = cell.scenario.role in cell.data.counts
            self._digests[key] = self._role(*key).ids_digest() if present else ""
        ids = self._digests[key]
        comparison = comparison_fields(cell, seed, ids, self.environment)
        return planned_file(
            cell, status=status, reason=reason, ids_digest=ids, comparison=comparison,
            identity=Digest.of(identity_fields(cell, seed)),
            numerics=Digest.of(numerics_fields(cell, self.environment)),
        )  # fmt: skip

    def _forget_if_changed(self, file: CellFile) -> None:
        """Drops what another model, data set or library version left under the same name."""
        folder = self.layout.cell(file.cell)
        marker = folder / ".digests.json"
        digests = [part.digest for part in (file.identity, file.numerics) if part]
        if folder.is_dir():
            try:
                same = json.loads(marker.read_text(encoding="utf-8")) == digests
            except (OSError, ValueError):
                same = False
            if same and not self._changed_midway(file.cell):
                return
            shutil.rmtree(folder)
        write_json(marker, digests)

    def _changed_midway(self, cell: str) -> bool:
        # Its shards may come from two models: none of them can be kept.
        path = self.layout.cell_file(cell)
        try:
            old = read_cell(path) if path.is_file() else None
        except CrucibenchError:
            return True
        return old is not None and any(part.code == MODEL_CHANGED for part in old.findings)


def _nothing_failed(layout: Layout) -> bool:
    # A failed cell is tried again by the same command: what it needs may have been mended.
    return all(file.status is not Status.FAILED for file in Run(layout.root).cells.values())


def _blocks(role: SelectedRole) -> Iterator[pa.Table]:
    for start in range(0, max(1, len(role)), _BLOCK):
        yield samples_to_table(role.slice(range(start, min(start + _BLOCK, len(role)))))


def _check_writable(out: Path) -> None:
    # Looked at, not tried: a command that ends with a mistake leaves nothing behind.
    nearest = out.resolve()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(f"--out {str(out)!r}: can't write there: {str(nearest)!r} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"--out {str(out)!r}: can't write there: permission denied")
