"""A Mapped cell under way, as the schedule sees it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from crucibench.engine.collect.cell_work import CellWork
from crucibench.engine.plan.plan import PlannedCell
from crucibench.store.cells import CellFile


@dataclass
class Clock:
    """The time during which a cell was being asked about, by anyone."""

    spent: float = 0.0
    since: float = 0.0
    running: int = 0

    def start(self) -> None:
        """One more worker asks."""
        if self.running == 0:
            self.since = time.perf_counter()
        self.running += 1

    def stop(self) -> None:
        """One worker less."""
        self.running -= 1
        if self.running == 0:
            self.spent += time.perf_counter() - self.since

    def read(self) -> float:
        """Returns the seconds so far."""
        return self.spent + (time.perf_counter() - self.since if self.running else 0.0)


@dataclass
class OpenCell:
    """A cell under way.

    Attributes:
        work: its tasks.
        file: as it was when it began.
        clock: how long it has been asked about.
        tries: how often a task of it was tried again.
        lost: how often a machine was lost under it.
        over: whether it is collected, or has failed.
    """

    work: CellWork
    file: CellFile
    clock: Clock = field(default_factory=Clock)
    tries: int = 0
    lost: int = 0
    over: bool = False

    @property
    def cell(self) -> PlannedCell:
        """The cell."""
        return self.work.cell

    def collected_file(self) -> CellFile:
        """Returns its file once all of it is on disk."""
        probes = self.work.journal.probes or []
        return self.file.model_copy(update={"stages": self.work.stages, "probes": probes})
