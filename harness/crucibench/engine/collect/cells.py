"""What is done to each cell of a run before it is collected and after: files, cache, scores."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import to_table
from crucibench.contracts.scenario import Derived, Mapped
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.cached_cells import Keeping
from crucibench.engine.collect.cell_work import CellWork, total_cost
from crucibench.engine.fixed_probe import Disagreement, cell_probe, disagreement
from crucibench.engine.inspected import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.cell_files import scoring_options
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.plan.planned_files import PlannedFiles, needs_failed
from crucibench.engine.plan.roles import SelectedRole
from crucibench.engine.resolve.resolve import Resolved
from crucibench.engine.score.score import Scorer, finish
from crucibench.engine.worker.failures import MODEL_CHANGED, failed, failed_file
from crucibench.engine.worker.tasks import Done
from crucibench.passes.marks import PROBE_DISAGREES, REDUCED_BATCH, REPLACED, disagreement_told
from crucibench.passes.repeats import SAME_MODEL
from crucibench.store.cell_cache import CellCache
from crucibench.store.cells import CellFile, read_cell, write_cell
from crucibench.store.events import Events
from crucibench.store.journal import Journal
from crucibench.store.layout import Layout
from crucibench.store.run import Run
from crucibench.store.tables import write_table
from crucibench.util.atomic import write_json
from crucibench.util.errors import CrucibenchError
from crucibench.util.text import both_ends

_LOG_BYTES = 1 << 20


class Cells:
    """The cells of a run: `steps.Steps`.

    Attributes:
        files: of every settled cell.
        rows: of every settled cell, its metric rows.
        journals: of every cell that has begun.
        layout: of the run.
        planned: the cells' files as the plan gives them.
    """

    def __init__(
        self,
        plan: Plan,
        resolved: Resolved,
        layout: Layout,
        inspection: Inspection,
        *,
        environment: Mapping[str, Any],
        events: Events,
        cache: CellCache | None,
        listener: Listener,
    ) -> None:
        self.files: dict[str, CellFile] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.layout = layout
        self._inspection = inspection
        self._events = events
        self._listener = listener
        self._told: set[tuple[str, ...]] = set()
        self._cells = {cell.id: cell for cell in plan}
        self._seed = resolved.spec.defaults.seed
        self._scorer = Scorer(Run(layout.root), scoring_options(resolved))
        self._roles: dict[tuple[str, str, int | None], SelectedRole] = {}
        self.planned = PlannedFiles(
            plan, self._seed, environment, lambda *key: self.role(*key).ids_digest()
        )
        self.journals: dict[str, Journal] = {}
        self._keeping = Keeping(cache, plan, self.planned, layout)

    def role(self, data: str, role: str, limit: int | None) -> SelectedRole:
        """Returns the samples of a role that are asked about."""
        key = (data, role, limit)
        if key not in self._roles:
            evalset = self._inspection.data[data]
            self._roles[key] = SelectedRole(evalset, role, limit, self._seed)
        return self._roles[key]

    def begin(self, cell: PlannedCell) -> CellFile:
        """Returns the cell's file: skipped, failed for what it needs, or ready to be collected."""
        file = self.planned.file(cell)
        reason = needs_failed(cell, self.files)
        if file.status is Status.OK and reason:
            return file.model_copy(update={"status": Status.FAILED, "reason": reason})
        return file

    def work(self, cell: PlannedCell, file: CellFile) -> CellWork | CellFile:
        """Returns what is to be asked, or the file of a cell that the cache has whole."""
        journal = self.vouched(cell, file)
        if not journal.files and journal.probe is not None:
            kept = self._keeping.fetch(cell, file, journal, journal.probe)
            if isinstance(kept, CellFile):
                return kept
            if kept is not None:
                self._refuse(cell, journal, kept)
        return self.new_work(cell, file)

    def vouched(self, cell: PlannedCell, file: CellFile) -> Journal:
        """Returns the cell's journal, emptied if its records may be another model's."""
        journal = self._journal(file)
        if self._changed_midway(cell.id) or self._can_not_tell(cell, journal):
            journal.forget()
        probe = cell_probe(cell, self._cells, self._inspection.probes)
        if journal.files:
            stored = journal.probe
            found = None
            if probe is not None and stored is not None:
                found = disagreement(stored, probe)
            if probe is None or stored is None or found is not None:
                journal.forget()
            if found is not None:
                self._refuse(cell, journal, found)
        if not journal.files and probe is not None and journal.probe != probe:
            journal.answered(probe)
        return journal

    def _refuse(self, cell: PlannedCell, journal: Journal, found: Disagreement) -> None:
        """Says that what was kept of a cell is not used."""
        facts = found.as_dict()
        journal.refuse(facts)
        self._events.add(PROBE_DISAGREES, cell=cell.id, **facts)
        told = (*cell.key[:2], found.what, found.whose)
        if told not in self._told:
            self._told.add(told)
            self._listener.note(
                f"{cell.model.name} on {cell.data.name}: {disagreement_told(facts)}"
            )

    def new_work(
        self, cell: PlannedCell, file: CellFile, only: Callable[[int], bool] | None = None
    ) -> CellWork:
        """Returns what is to be asked, of all shards or of some; -1 stands for the probes."""

        def needs() -> Mapping[str, CellEvidence]:
            return self._scorer.evidence(cell, self._with(cell, file)).needs

        role = self.role(cell.data.name, cell.scenario.role, cell.limit)
        journal = self.journals.get(cell.id) or self._journal(file)
        return CellWork(cell, self.layout, journal, role, needs, only=only)

    def cohort(self, cells: tuple[PlannedCell, ...]) -> None:
        """Makes room for the rounds of a cohort: rounds of other times don't pair with them."""
        for cell in cells:
            self._journal(self.begin(cell)).forget()

    def timed(self, cell: PlannedCell, done: Done) -> None:
        """Takes the rounds of a cell into the account."""
        self.journals[cell.id].add(done.files, asdict(done.cost), done.replaced)
        self._events.add("task", cell=cell.id, kind="timed", **asdict(done.cost))

    def finish(self, cell: PlannedCell, file: CellFile, work: CellWork | None) -> CellFile:
        """Derives, scores and writes a cell."""
        begun = time.time()
        journal = self.journals.get(cell.id)
        cached = work is None and isinstance(cell.scenario, Mapped) and file.status is Status.OK
        if file.status is Status.OK:
            file = self.complete(cell, file, work)
            if journal is not None and journal.replaced:
                facts = {**file.facts, REPLACED: list(journal.replaced)}
                file = file.model_copy(update={"facts": facts})
        elif file.status is Status.SKIPPED:
            shutil.rmtree(self.layout.cell(cell.id), ignore_errors=True)
        file, rows = finish(cell, file, self.files, self._scorer)
        self.layout.cell(cell.id).mkdir(parents=True, exist_ok=True)
        if journal is not None:
            write_json(self.layout.timing(cell.id), total_cost(journal, cached))
        write_cell(self.layout.cell_file(cell.id), file)
        self.files[cell.id], self.rows[cell.id] = file, rows
        if file.status is Status.OK:
            self._events.add(
                "task", cell=cell.id, kind="score", begun=round(begun, 3),
                seconds=round(time.time() - begun, 6),
            )  # fmt: skip
        self._keeping.settled(cell, file, work)
        return file

    def log(self, cell: PlannedCell, text: bytes) -> None:
        """Keeps what the model printed: beyond a mebibyte, its beginning and its end."""
        path = self.layout.log(cell.id)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            held = path.read_bytes() if path.is_file() else b""
            path.write_bytes(both_ends(held + text, _LOG_BYTES))

    def complete(self, cell: PlannedCell, file: CellFile, work: CellWork | None) -> CellFile:
        """Returns the file of a cell with all that is known before scoring; derives records."""
        if work is not None:
            work.tidy()
            facts: dict[str, Any] = dict(file.facts)
            if (size := work.journal.batch_size) is not None:
                facts[REDUCED_BATCH] = size
            if (refused := work.journal.refused) is not None:
                facts[PROBE_DISAGREES] = dict(refused)
            return file.model_copy(update={"facts": facts})
        if isinstance(cell.scenario, Mapped):  # from the cache
            self.journals[cell.id].drop_strangers()
        if isinstance(cell.scenario, Derived):
            return self._derived(cell, cell.scenario, file)
        return file

    def _derived(self, cell: PlannedCell, scenario: Derived, file: CellFile) -> CellFile:
        shutil.rmtree(self.layout.cell(cell.id), ignore_errors=True)
        try:
            columns = scenario.derive(self._scorer.evidence(cell, self._with(cell, file)))
            if columns is not None:
                write_table(self.layout.shard(cell.id, 0, 0), to_table(columns))
        except Exception as error:
            return failed_file(file, failed(error))
        return file

    def _with(self, cell: PlannedCell, file: CellFile) -> dict[str, CellFile]:
        return {other: self.files[other] for other in cell.needs.values()} | {cell.id: file}

    def _journal(self, file: CellFile) -> Journal:
        digests = [part.digest for part in (file.identity, file.numerics) if part]
        self.journals[file.cell] = Journal(self.layout.cell(file.cell), digests)
        return self.journals[file.cell]

    def _changed_midway(self, cell: str) -> bool:
        # Its shards may come from two models: none of them can be kept.
        path = self.layout.cell_file(cell)
        try:
            old = read_cell(path) if path.is_file() else None
        except CrucibenchError:
            return False
        return old is not None and any(part.code == MODEL_CHANGED for part in old.findings)

    def _can_not_tell(self, cell: PlannedCell, journal: Journal) -> bool:
        # Without its first answers nobody knows if the model is still the one that made the shards.
        asked = cell.model.fingerprint is None and bool(journal.files)
        return asked and not journal.holds(self.layout.probe(cell.id, SAME_MODEL).name)
