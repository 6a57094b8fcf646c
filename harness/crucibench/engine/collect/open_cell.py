"""A Mapped cell that is being collected: what is left to ask, and what is on disk for certain."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Records
from crucibench.contracts.scenario import StageView
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.plan.roles import SelectedRole
from crucibench.engine.worker import selection
from crucibench.engine.worker.tasks import Done, ProbeTask, ShardTask
from crucibench.store.cells import CellFile, StageFile
from crucibench.store.journal import Journal
from crucibench.store.layout import Layout
from crucibench.store.tables import read_table

CellTask = ProbeTask | ShardTask
PROBES = -1
"""In place of a shard's number: the cell's probes."""


class Stopwatch:
    """The time during which a cell was being asked about, by any number of workers at once."""

    def __init__(self) -> None:
        self._spent = self._since = 0.0
        self._running = 0

    def start(self) -> None:
        """Counts one more worker that asks."""
        if self._running == 0:
            self._since = time.perf_counter()
        self._running += 1

    def stop(self) -> None:
        """Counts one worker less."""
        self._running -= 1
        if self._running == 0:
            self._spent += time.perf_counter() - self._since

    def read(self) -> float:
        """Returns the seconds so far."""
        return self._spent + (time.perf_counter() - self._since if self._running else 0.0)


class OpenCell:
    """Hands out a cell's tasks, stage by stage, and keeps account of them.

    Attributes:
        cell: the cell.
        file: its file as it was when it began.
        journal: what is on disk.
        stages: what was asked in each stage so far.
        stopwatch: how long it has been asked about.
        tries: how often a task of it was tried again.
        lost: how often a machine was lost under it.
        over: whether it is collected, or has failed.
        most: how many shards may be asked for so far; None for all.
    """

    def __init__(
        self,
        cell: PlannedCell,
        file: CellFile,
        layout: Layout,
        journal: Journal,
        *,
        role: SelectedRole,
        needs: Callable[[], Mapping[str, CellEvidence]],
        only: Callable[[int], bool],
    ) -> None:
        """Begins a cell whose needs are finished.

        Args:
            cell: the cell.
            file: its file before collection.
            layout: of the run.
            journal: of the cell.
            role: its samples.
            needs: gathers what its needs hold.
            only: which shards are asked for here, `PROBES` for the probes.
        """
        self.cell = cell
        self.file = file
        self.journal = journal
        self.stages: list[StageFile] = []
        self.stopwatch = Stopwatch()
        self.tries = self.lost = 0
        self.over = False
        self.most: int | None = None
        self._found = 0
        self._layout = layout
        self._role = role
        self._needs = needs
        self._only = only
        self._pending: deque[CellTask] = deque()
        self._running = 0
        self._held_back = False
        if only(PROBES) and not self._probed():
            self._pending.append(ProbeTask(cell=cell))
            # A model without a fingerprint is recognised by its probe answers alone: no shard may
            # be asked for before there are any to compare with.
            self._held_back = cell.model.fingerprint is None
        if not self._held_back:
            self._advance()

    @property
    def collected(self) -> bool:
        """Whether nothing is left to ask."""
        return not self._pending and not self._running and not self._held_back

    @property
    def waiting(self) -> bool:
        """Whether there is a task to hand out."""
        if not self._pending:
            return False
        task = self._pending[0]
        return self.most is None or isinstance(task, ProbeTask) or task.shard < self.most

    def next_task(self) -> CellTask:
        """Hands out the next task, with the batch that memory allows by now."""
        self._running += 1
        return replace(self._pending.popleft(), at_most=self.journal.batch_size)

    def put_back(self, task: CellTask) -> None:
        """Takes back a task that was not done: it is the next."""
        self._running -= 1
        self._pending.appendleft(task)

    def take_found(self) -> int:
        """Returns, once, how many more samples an earlier attempt left on disk."""
        found, self._found = self._found, 0
        return found

    def drop(self) -> None:
        """Stops handing out tasks: the cell has failed."""
        self._pending.clear()
        self._running = 0

    def done(self, task: CellTask, done: Done) -> None:
        """Enters what a task has written into the journal, and goes on to the next stage."""
        self._running -= 1
        self.journal.add(done.files, asdict(done.cost))
        if isinstance(task, ProbeTask):
            self.journal.add_probes(done.probes)
            self._held_back = False
        self._advance()

    def clean_up(self) -> None:
        """Removes files that a finished cell does not use, and files that do not belong to it."""
        selection.forget(self.journal.folder, len(self.cell.mapped.stages))
        self.journal.remove_uncounted()

    def collected_file(self) -> CellFile:
        """Returns the cell's file once all of it is on disk."""
        probes = self.journal.probes or []
        return self.file.model_copy(update={"stages": self.stages, "probes": probes})

    def _probed(self) -> bool:
        names = self.journal.probes
        return names is not None and all(
            self.journal.holds(self._layout.probe(self.cell.id, name).name) for name in names
        )

    def _advance(self) -> None:
        """Begins stages until one has something to ask; not before the last one is complete.

        A stage chooses its samples from what the stages before it left (`Mapped.select`).
        """
        stages = self.cell.mapped.stages
        while not self._pending and not self._running and len(self.stages) < len(stages):
            self._begin_stage(len(self.stages), stages[len(self.stages)])

    def _begin_stage(self, number: int, name: str) -> None:
        chosen = self.cell.mapped.select(name, self._view)
        samples = selection.write(self.journal.folder, number, chosen, len(self._role), name)
        if chosen is not None:
            # Shards of another selection answer other questions: the journal forgets them.
            self.journal.note_choice(number, selection.digest(chosen))
        size = self.cell.shard_size
        shards = -(-samples // size)
        self.stages.append(StageFile(name=name, samples=samples, shards=shards))
        for shard in filter(self._only, range(shards)):
            if self.journal.holds_shard(self._layout.shard(self.cell.id, number, shard).name):
                self._found += min(size, samples - shard * size)
            else:
                self._pending.append(ShardTask(cell=self.cell, stage=number, shard=shard))

    def _view(self) -> StageView:
        earlier = stage_records(self._layout, self.cell.id, self.stages)
        return StageView(self._role.samples(), self._needs(), earlier)


def stage_records(layout: Layout, cell: str, stages: Sequence[StageFile]) -> dict[str, Records]:
    """Returns the records of a cell's stages by their names; stages without any are left out."""
    return {
        stage.name: Records(
            pa.concat_tables(
                [read_table(layout.shard(cell, number, at)) for at in range(stage.shards)]
            )
        )
        for number, stage in enumerate(stages)
        if stage.shards
    }


def total_cost(journal: Journal, cached: bool) -> dict[str, Any]:
    """Returns what a cell cost, over all attempts: what ``timing.json`` holds."""
    costs = journal.costs

    def known(name: str) -> list[Any]:
        return [cost[name] for cost in costs if cost.get(name) is not None]

    device_seconds = known("device_seconds")
    return {
        "seconds": round(sum(known("seconds"), 0.0), 6),
        "cpu_seconds": round(sum(known("cpu_seconds"), 0.0), 6),
        "device_seconds": round(sum(device_seconds), 6) if device_seconds else None,
        "forwards": sum(known("forwards")),
        "backwards": sum(known("backwards")),
        "peak_memory": max(known("peak_memory"), default=None),
        "tasks": len(costs),
        "attempts": 1 + journal.attempts,
        "cached": cached,
    }
