"""Which cells of a run are taken from the cache, and which are kept in it for other runs."""

from __future__ import annotations

from crucibench.contracts.verdict import Status
from crucibench.engine.collect.cell_work import CellWork, total_cost
from crucibench.engine.fixed_probe import CellProbe, Disagreement, disagreement
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.plan.planned_files import PlannedFiles
from crucibench.engine.worker.failures import MODEL_CHANGED
from crucibench.passes.marks import REDUCED_BATCH
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cell_cache import CacheKey, CellCache
from crucibench.store.cells import CellFile
from crucibench.store.journal import Journal
from crucibench.store.layout import Layout

_RANDOM = frozenset({"non-deterministic-output", MODEL_CHANGED})

_Home = tuple[str, str]
"""(model, data set)."""


class Keeping:
    """Asks the cache for cells, and gives it those that another run would collect alike.

    Whether a model answers at random shows in its passes: until these are settled, its other cells
    wait.
    """

    def __init__(
        self, cache: CellCache | None, plan: Plan, planned: PlannedFiles, layout: Layout
    ) -> None:
        """Takes the cache, if there is one."""
        self._cache = cache
        self._planned = planned
        self._layout = layout
        self._passes: dict[_Home, set[str]] = {}
        for cell in plan:
            if cell.scenario.suite == PASS:
                self._passes.setdefault(cell.key[:2], set()).add(cell.id)
        self._random: set[_Home] = set()
        # Cells made in other batches than the plan's, and those that read them.
        self._reduced: set[str] = set()
        self._waiting: dict[_Home, list[tuple[PlannedCell, CellFile, CellWork]]] = {}

    def fetch(
        self, cell: PlannedCell, file: CellFile, journal: Journal, probe: CellProbe
    ) -> CellFile | Disagreement | None:
        """Returns a cell's file, its records now in the run.

        If it is to be collected, None; or in what way its models' answers to the fixed probe are
        not those that were stored with what is kept.
        """
        key = self._key(cell)
        if self._cache is None or key is None:
            return None
        refused: list[Disagreement] = []

        def agrees(stored: CellProbe) -> bool:
            if (found := disagreement(stored, probe)) is not None:
                refused.append(found)
            return found is None

        kept = self._cache.fetch(key, self._layout.cell(cell.id), agrees)
        if kept is None:
            return refused[0] if refused else None
        journal.add(kept.files)
        journal.add_probes(kept.probes)
        return file.model_copy(update={"stages": kept.stages, "probes": kept.probes})

    def settled(self, cell: PlannedCell, file: CellFile, work: CellWork | None) -> None:
        """Takes note of a cell; `work` if it was collected."""
        home = cell.key[:2]
        if REDUCED_BATCH in file.facts or self._reduced & set(cell.needs.values()):
            self._reduced.add(cell.id)
        if any(finding.code in _RANDOM and not finding.cell for finding in file.findings):
            self._random.add(home)
        if work is not None and file.status is Status.OK:
            self._waiting.setdefault(home, []).append((cell, file, work))
        passes = self._passes.get(home, set())
        passes.discard(cell.id)
        if not passes:
            for entry in self._waiting.pop(home, []):
                self._keep(*entry)

    def _keep(self, cell: PlannedCell, file: CellFile, work: CellWork) -> None:
        key = self._key(cell)
        random = cell.key[:2] in self._random or any(
            finding.code in _RANDOM for finding in file.findings
        )
        probe = work.journal.probe
        if self._cache is None or key is None or random or cell.id in self._reduced:
            return
        if probe is None:
            return
        labels = {"model": file.model, "data": file.data, "scenario": cell.scenario.address}
        self._cache.keep(
            key, self._layout.cell(cell.id), file.stages, file.probes, work.journal.files,
            total_cost(work.journal, cached=False), probe=probe, labels=labels,
        )  # fmt: skip

    def _key(self, cell: PlannedCell) -> CacheKey | None:
        known = self._planned.meaning(cell)
        if known is None or self._reduced & set(cell.needs.values()):
            return None
        return CacheKey(identity=known, numerics=self._planned.numerics(cell), outputs=cell.outputs)
