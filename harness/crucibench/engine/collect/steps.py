"""What the schedule asks of whoever keeps the cells, and what it knows of a slot at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from crucibench.engine.collect.cell_work import CellTask, CellWork
from crucibench.engine.collect.cohorts import Cohort
from crucibench.engine.collect.open_cell import OpenCell
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.worker.tasks import Done, TimedTask
from crucibench.store.cells import CellFile


class Steps(Protocol):
    """What is done to a cell before and after it is collected."""

    def begin(self, cell: PlannedCell) -> CellFile:
        """Returns the cell's file: skipped, failed for what it needs, or ready to be collected."""

    def work(self, cell: PlannedCell, file: CellFile) -> CellWork | CellFile:
        """Returns what is to be asked, or the file of a cell that the cache has whole."""

    def cohort(self, cells: Cohort) -> None:
        """Makes room for the rounds of a cohort."""

    def timed(self, cell: PlannedCell, done: Done) -> None:
        """Takes the rounds of a cell into the account."""

    def finish(self, cell: PlannedCell, file: CellFile, work: CellWork | None) -> CellFile:
        """Derives, scores and writes a cell; in another thread, if there are workers."""

    def log(self, cell: PlannedCell, text: bytes) -> None:
        """Keeps what the model printed."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When to give up.

    Attributes:
        timeout: seconds that a cell's tasks may take in all.
        retries: how often a cell's tasks may be tried again.
        failures: how many cells may fail before the run is stopped; None for any number.
    """

    timeout: float
    retries: int = 0
    failures: int | None = None


@dataclass
class Running:
    """What a slot does: a task of a cell, or (`cell` None) a cohort."""

    task: CellTask | TimedTask
    cell: OpenCell | None = None
    begun: bool = False
    advanced: int = 0
