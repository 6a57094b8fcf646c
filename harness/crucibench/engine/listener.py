"""What the engine reports to the observer of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crucibench.engine.inspect import Inspection
    from crucibench.engine.plan.plan import Plan, PlannedCell
    from crucibench.store.cells import CellFile


class Listener:
    """Observes a run; every method does nothing unless overridden.

    Several cells may be under way at once: calls about them come in any order.
    """

    def note(self, message: str) -> None:
        """Is given one sentence about the present step, e.g. which model is being inspected."""

    def indexing(self, data: str, done: int, total: int) -> None:
        """Is called while the samples of a data set are read and hashed."""

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        """Is called with the finished plan, before anything is collected."""

    def started(self, cell: PlannedCell, total: int) -> None:
        """Is called when the collection of a cell with `total` samples begins."""

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        """Is called when `samples` more samples of a cell are done."""

    def retried(self, cell: str, reason: str) -> None:
        """Is called when a task of a cell is tried again; `reason` is one sentence."""

    def finished(self, cell: CellFile) -> None:
        """Is called when a cell has its status."""

    def stopping(self) -> None:
        """Is called after an interrupt: tasks under way are finished, and no others begun."""
