"""Prepares each cell of a run for collection, and completes it afterwards: files, cache, scores."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from crucibench.contracts.evidence import CellEvidence, ScoringOptions
from crucibench.contracts.scenario import Derived, Mapped
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.open_cell import OpenCell, total_cost
from crucibench.engine.fixed_probe import CellProbe, Disagreement, cell_probe, disagreement
from crucibench.engine.inspect import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.plan.cell_files import PlannedFiles, needs_failed
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.plan.roles import SelectedRole
from crucibench.engine.resolve.resolve import Resolved
from crucibench.engine.score.score import Scorer, conclude
from crucibench.engine.worker.failures import MODEL_CHANGED
from crucibench.engine.worker.tasks import AsideTask, Done, Message, Scored, Setup, Task
from crucibench.passes.marks import PROBE_DISAGREES, REDUCED_BATCH, REPLACED, disagreement_text
from crucibench.passes.repeats import SAME_MODEL
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cell_cache import CacheKey, CellCache
from crucibench.store.cells import CellFile, read_cell, write_cell
from crucibench.store.events import Events
from crucibench.store.journal import Journal
from crucibench.store.layout import Layout
from crucibench.store.run import Run
from crucibench.util import doors
from crucibench.util.atomic import write_json
from crucibench.util.errors import CrucibenchError
from crucibench.util.text import both_ends

_LOG_BYTES = 1 << 20
_RANDOM = frozenset({"non-deterministic-output", MODEL_CHANGED})
"""Findings that say that a model answers otherwise each time: nothing of it is cached."""


class CellLifecycle:
    """Takes the cells of a run from their plan to their score.

    `finish` may run in other threads than the rest; a cell that it is given is given to nobody
    else any more. They take turns, but where cells are scored in processes.

    Attributes:
        files: of every finished cell.
        rows: of every finished cell, its metric rows.
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
        observed: Mapping[str, Mapping[str, Any]],
        score: Callable[[Task], Message | None] | None = None,
    ) -> None:
        self.files: dict[str, CellFile] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.journals: dict[str, Journal] = {}
        self.layout = layout
        self._inspection = inspection
        self._events = events
        self._listener = listener
        self._noted: set[tuple[str, ...]] = set()
        self._cells = {cell.id: cell for cell in plan}
        self._seed = resolved.spec.defaults.seed
        self.score = score
        self._turn = threading.Lock()
        self.scorer = Scorer(Run(layout.root), resolved.spec.defaults.scoring)
        self._roles: dict[tuple[str, str, int | None], SelectedRole] = {}
        self.planned = PlannedFiles(
            plan, self._seed, environment, lambda *key: self.role(*key).ids_digest(), observed
        )
        self._cache = _CacheExchange(cache, plan, self.planned, layout)

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

    def open(self, cell: PlannedCell, file: CellFile) -> OpenCell | CellFile:
        """Returns a Mapped cell, open, or the file of one that the cache has whole."""
        journal = self.checked_journal(cell, file)
        if not journal.files and journal.probe is not None:
            cached = self._cache.fetch(cell, file, journal, journal.probe)
            if isinstance(cached, CellFile):
                return cached
            if cached is not None:
                self._refuse(cell, journal, cached)
        return self.make_open_cell(cell, file, journal)

    def checked_journal(self, cell: PlannedCell, file: CellFile) -> Journal:
        """Returns the cell's journal, emptied if its records may be another model's."""
        journal = self._journal(file)
        if self._changed_midway(cell.id) or self._lacks_first_answers(cell, journal):
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
            journal.note_probe(probe)
        return journal

    def _refuse(self, cell: PlannedCell, journal: Journal, found: Disagreement) -> None:
        """Notes that the kept records of a cell are not used; tells the listener once per model."""
        facts = asdict(found)
        journal.note_refusal(facts)
        self._events.add(PROBE_DISAGREES, cell=cell.id, **facts)
        key = (*cell.key[:2], found.what, found.whose)
        if key not in self._noted:
            self._noted.add(key)
            self._listener.note(
                f"{cell.model.name} on {cell.data.name}: {disagreement_text(facts)}"
            )

    def make_open_cell(
        self, cell: PlannedCell, file: CellFile, journal: Journal,
        only: Callable[[int], bool] = lambda shard: True,
    ) -> OpenCell:  # fmt: skip
        """Returns a Mapped cell, open, of which the shards `only` names are asked for."""

        def needs() -> Mapping[str, CellEvidence]:
            return self.scorer.evidence(cell, self._with_needs(cell, file)).needs

        role = self.role(cell.data.name, cell.scenario.role, cell.limit)
        return OpenCell(cell, file, self.layout, journal, role=role, needs=needs, only=only)

    def begin_cohort(self, cells: Iterable[PlannedCell]) -> None:
        """Removes earlier rounds of a cohort: rounds of other times don't pair with new ones."""
        for cell in cells:
            self._journal(self.begin(cell)).forget()

    def add_rounds(self, cell: PlannedCell, done: Done) -> None:
        """Enters the rounds of a timed cell into its journal."""
        self.journals[cell.id].add(done.files, asdict(done.cost))
        self._events.add("task", cell=cell.id, kind="timed", **asdict(done.cost))

    def finish(self, cell: PlannedCell, file: CellFile, opened: OpenCell | None) -> CellFile:
        """Derives, scores and writes a cell; `opened` if it was collected."""
        begun = time.time()
        journal = self.journals.get(cell.id)
        cached = opened is None and isinstance(cell.scenario, Mapped) and file.status is Status.OK
        if file.status is Status.OK:
            file = self.complete(cell, file, opened)
            if journal is not None and journal.replaced:
                facts = {**file.facts, REPLACED: list(journal.replaced)}
                file = file.model_copy(update={"facts": facts})
        elif file.status is Status.SKIPPED:
            doors.remove_folder(self.layout.cell(cell.id), ignore_errors=True)
        scored = None
        if self.score is not None and file.status is Status.OK:
            given = (cell, self._with_needs(cell, file))
            scored = self.score(AsideTask(work=score_aside, given=given))
        with self._turn:
            if isinstance(scored, Scored):
                file, rows = scored.file, scored.rows
            else:  # also where the process died of it: what is wrong shows here
                file, rows = conclude(cell, file, self.files, self.scorer)
            return self._keep(cell, file, rows, opened, cached=cached, begun=begun)

    def _keep(
        self, cell: PlannedCell, file: CellFile, rows: list[dict[str, Any]],
        opened: OpenCell | None, *, cached: bool, begun: float,
    ) -> CellFile:  # fmt: skip
        journal = self.journals.get(cell.id)
        doors.make_folder(self.layout.cell(cell.id))
        if journal is not None:
            write_json(self.layout.timing(cell.id), total_cost(journal, cached))
        write_cell(self.layout.cell_file(cell.id), file)
        self.files[cell.id], self.rows[cell.id] = file, rows
        if file.status is Status.OK:
            self._events.add(
                "task", cell=cell.id, kind="score", begun=round(begun, 3),
                seconds=round(time.time() - begun, 6),
            )  # fmt: skip
        self._cache.cell_finished(cell, file, opened)
        return file

    def log(self, cell: PlannedCell, text: bytes) -> None:
        """Keeps what the model printed: beyond a mebibyte, its beginning and its end."""
        path = self.layout.log(cell.id)
        with contextlib.suppress(OSError):
            doors.make_folder(path.parent)
            held = path.read_bytes() if path.is_file() else b""
            doors.write_bytes(path, both_ends(held + text, _LOG_BYTES))

    def complete(self, cell: PlannedCell, file: CellFile, opened: OpenCell | None) -> CellFile:
        """Returns the file of a cell with all that is known before records are derived."""
        if opened is not None:
            opened.clean_up()
            facts: dict[str, Any] = dict(file.facts)
            if (size := opened.journal.batch_size) is not None:
                facts[REDUCED_BATCH] = size
            if (refused := opened.journal.refused) is not None:
                facts[PROBE_DISAGREES] = dict(refused)
            return file.model_copy(update={"facts": facts})
        if isinstance(cell.scenario, Mapped):  # from the cache
            self.journals[cell.id].remove_uncounted()
        if isinstance(cell.scenario, Derived):
            doors.remove_folder(self.layout.cell(cell.id), ignore_errors=True)
        return file

    def _with_needs(self, cell: PlannedCell, file: CellFile) -> dict[str, CellFile]:
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

    def _lacks_first_answers(self, cell: PlannedCell, journal: Journal) -> bool:
        # Without its first answers it is unknown if this model is the one that made the shards.
        asked = cell.model.fingerprint is None and bool(journal.files)
        return asked and not journal.holds(self.layout.probe(cell.id, SAME_MODEL).name)


def score_aside(setup: Setup, cell: PlannedCell, files: Mapping[str, CellFile]) -> Scored:
    """Concludes a cell in another process; `files` are its own and those of all that it needs."""
    scorer = _scorer(setup.root, setup.resolved.spec.defaults.scoring)
    file, rows = conclude(cell, files[cell.id], files, scorer)
    return Scored(file=file, rows=rows)


@cache
def _scorer(root: Path, options: ScoringOptions) -> Scorer:
    return Scorer(Run(root), options)


class _CacheExchange:
    """Takes cells from the cache, and stores those that another run would collect in the same way.

    Whether a model answers at random shows in its passes: its other cells are stored once all of
    them are finished.
    """

    def __init__(
        self, cache: CellCache | None, plan: Plan, planned: PlannedFiles, layout: Layout
    ) -> None:
        self._cache = cache
        self._planned = planned
        self._layout = layout
        # By (model, data set): the passes that are not finished, and what waits for them.
        self._passes: dict[tuple[str, str], set[str]] = {}
        for cell in plan:
            if cell.scenario.suite == PASS:
                self._passes.setdefault(cell.key[:2], set()).add(cell.id)
        self._waiting: dict[tuple[str, str], list[tuple[PlannedCell, CellFile, Journal]]] = {}
        self._random: set[tuple[str, str]] = set()
        # Cells made in other batches than the plan's, and those that read them.
        self._reduced: set[str] = set()

    def fetch(
        self, cell: PlannedCell, file: CellFile, journal: Journal, probe: CellProbe
    ) -> CellFile | Disagreement | None:
        """Returns a cell's file, its records now in the run.

        If it is to be collected, None; or in what way its models' answers to the fixed probe are
        not those that were stored with the cached cell.
        """
        key = self._key(cell)
        if self._cache is None or key is None:
            return None
        refused: list[Disagreement] = []

        def agrees(stored: CellProbe) -> bool:
            if (found := disagreement(stored, probe)) is not None:
                refused.append(found)
            return found is None

        cached = self._cache.fetch(key, self._layout.cell(cell.id), agrees)
        if cached is None:
            return refused[0] if refused else None
        journal.add(cached.files)
        journal.add_probes(cached.probes)
        return file.model_copy(update={"stages": cached.stages, "probes": cached.probes})

    def cell_finished(self, cell: PlannedCell, file: CellFile, opened: OpenCell | None) -> None:
        """Takes note of a finished cell; `opened` if it was collected."""
        pair = cell.key[:2]
        if REDUCED_BATCH in file.facts or self._reduced & set(cell.needs.values()):
            self._reduced.add(cell.id)
        if any(finding.code in _RANDOM and not finding.cell for finding in file.findings):
            self._random.add(pair)
        if opened is not None and file.status is Status.OK:
            self._waiting.setdefault(pair, []).append((cell, file, opened.journal))
        passes = self._passes.get(pair, set())
        passes.discard(cell.id)
        if not passes:
            for entry in self._waiting.pop(pair, []):
                self._store(*entry)

    def _store(self, cell: PlannedCell, file: CellFile, journal: Journal) -> None:
        key = self._key(cell)
        random = cell.key[:2] in self._random or any(
            finding.code in _RANDOM for finding in file.findings
        )
        if self._cache is None or key is None or random or cell.id in self._reduced:
            return
        if journal.probe is None:
            return
        labels = {"model": file.model, "data": file.data, "scenario": cell.scenario.address}
        self._cache.keep(
            key, self._layout.cell(cell.id), file.stages, file.probes, journal.files,
            total_cost(journal, cached=False), probe=journal.probe, labels=labels,
        )  # fmt: skip

    def _key(self, cell: PlannedCell) -> CacheKey | None:
        meaning = self._planned.meaning(cell)
        if meaning is None or self._reduced & set(cell.needs.values()):
            return None
        return CacheKey(
            identity=meaning, numerics=self._planned.numerics(cell), outputs=cell.outputs
        )
