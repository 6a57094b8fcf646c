"""One Mapped cell under way: what is to be asked next, and what is on disk for certain."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Records
from crucibench.contracts.scenario import Mapped, StageView
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.plan.roles import SelectedRole
from crucibench.engine.worker import selection
from crucibench.engine.worker.tasks import Done, ProbeTask, ShardTask
from crucibench.store.cells import StageFile
from crucibench.store.journal import Journal
from crucibench.store.layout import Layout
from crucibench.store.tables import read_table

CellTask = ProbeTask | ShardTask


class CellWork:
    """Hands out a cell's tasks, stage by stage, and keeps account of them.

    Attributes:
        cell: the cell.
        journal: what is on disk.
        stages: what was asked in each stage so far.
    """

    def __init__(
        self,
        cell: PlannedCell,
        layout: Layout,
        journal: Journal,
        role: SelectedRole,
        needs: Callable[[], Mapping[str, CellEvidence]],
        *,
        only: Callable[[int], bool] | None = None,
    ) -> None:
        """Takes a cell whose needs are settled.

        Args:
            cell: the cell.
            layout: of the run.
            journal: of the cell.
            role: its samples.
            needs: gathers what its needs hold.
            only: which shards are asked for here, -1 for the probes; None for all.
        """
        self.cell = cell
        self.journal = journal
        self.stages: list[StageFile] = []
        self._kept = 0
        self._layout = layout
        self._role = role
        self._needs = needs
        self._only = only or (lambda shard: True)
        self._pending: deque[CellTask] = deque()
        self._running = 0
        self._held_back = False
        if self._only(-1) and not self._probed():
            self._pending.append(ProbeTask(cell=cell))
            # Until it is known how it answers, a model without a fingerprint can't be told apart.
            self._held_back = cell.model.fingerprint is None
        if not self._held_back:
            self._advance()

    @property
    def scenario(self) -> Mapped:
        """The cell's."""
        scenario = self.cell.scenario
        if not isinstance(scenario, Mapped):
            raise TypeError(f"{scenario.address} is not a Mapped scenario")
        return scenario

    @property
    def collected(self) -> bool:
        """Whether nothing is left to ask."""
        return not self._pending and not self._running and not self._held_back

    @property
    def waiting(self) -> bool:
        """Whether there is a task to hand out."""
        return bool(self._pending)

    def _probed(self) -> bool:
        names = self.journal.probes
        return names is not None and all(
            self.journal.holds(self._layout.probe(self.cell.id, name).name) for name in names
        )

    def take(self) -> CellTask:
        """Hands out the next task, with the batch that memory allows by now."""
        self._running += 1
        return replace(self._pending.popleft(), at_most=self.journal.batch_size)

    def give_back(self, task: CellTask) -> None:
        """Takes back a task that was not done: it is the next."""
        self._running -= 1
        self._pending.appendleft(task)

    def take_kept(self) -> int:
        """Returns how many samples, not told before, an earlier attempt has left on disk."""
        kept, self._kept = self._kept, 0
        return kept

    def drop(self) -> None:
        """Hands out no more: the cell has failed."""
        self._pending.clear()
        self._running = 0

    def done(self, task: CellTask, done: Done) -> None:
        """Takes what a task has left on disk into the account, and goes on to the next stage."""
        self._running -= 1
        self.journal.add(done.files, asdict(done.cost), done.replaced)
        if isinstance(task, ProbeTask):
            self.journal.add_probes(done.probes)
            self._held_back = False
        if not self._pending and not self._running:
            self._advance()

    def tidy(self) -> None:
        """Removes what a finished cell has no use for, and what does not belong to it."""
        selection.forget(self.journal.folder, len(self.scenario.stages))
        self.journal.drop_strangers()

    def _advance(self) -> None:
        """Begins stages until one has something to ask."""
        while not self._pending and not self._running and len(self.stages) < self._total:
            self._begin(len(self.stages))

    @property
    def _total(self) -> int:
        return len(self.scenario.stages)

    def _begin(self, number: int) -> None:
        name = self.scenario.stages[number]
        chosen = self.scenario.select(name, lambda: self._view(number))
        samples = selection.write(self.journal.folder, number, chosen, len(self._role), name)
        if chosen is not None:
            # Answers of samples that entered for other reasons are no answers to this.
            self.journal.chose(number, selection.digest(chosen))
        size = self.cell.shard_size
        shards = -(-samples // size)
        self.stages.append(StageFile(name=name, samples=samples, shards=shards))
        for shard in filter(self._only, range(shards)):
            if self.journal.holds_shard(self._layout.shard(self.cell.id, number, shard).name):
                self._kept += min(size, samples - shard * size)
            else:
                self._pending.append(ShardTask(cell=self.cell, stage=number, shard=shard))

    def _view(self, number: int) -> StageView:
        earlier: dict[str, Records] = {}
        for before in range(number):
            paths = [
                self._layout.shard(self.cell.id, before, shard)
                for shard in range(self.stages[before].shards)
            ]
            if paths:
                tables = [read_table(path) for path in paths]
                earlier[self.scenario.stages[before]] = Records(pa.concat_tables(tables))
        return StageView(self._role.samples(), self._needs(), earlier)


def total_cost(journal: Journal, cached: bool) -> dict[str, Any]:
    """Returns what a cell cost, over all attempts: what ``timing.json`` holds."""
    costs = journal.costs

    def total(name: str) -> float | None:
        known = [cost[name] for cost in costs if cost.get(name) is not None]
        return round(sum(known), 6) if known else None

    peaks = [cost["peak_memory"] for cost in costs if cost.get("peak_memory") is not None]
    return {
        "seconds": total("seconds") or 0.0,
        "cpu_seconds": total("cpu_seconds") or 0.0,
        "device_seconds": total("device_seconds"),
        "forwards": int(total("forwards") or 0),
        "backwards": int(total("backwards") or 0),
        "peak_memory": max(peaks, default=None),
        "tasks": len(costs),
        "attempts": 1 + journal.attempts,
        "cached": cached,
    }
