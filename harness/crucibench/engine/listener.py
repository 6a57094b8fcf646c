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
        """One sentence about what is being done now, e.g. which model is being inspected."""

    def indexing(self, data: str, done: int, total: int) -> None:
        """Samples of a data set are being read and hashed."""

    def planned(self, plan: Plan, inspection: Inspection) -> None:
        """The plan stands; nothing has been collected yet."""

    def started(self, cell: PlannedCell, total: int) -> None:
        """A cell is being collected: `total` samples."""

    def advanced(self, cell: PlannedCell, samples: int) -> None:
        """`samples` more samples of it are done."""

    def retried(self, cell: str, reason: str) -> None:
        """Something of the cell of this id is tried again; `reason` is one sentence."""

    def finished(self, cell: CellFile) -> None:
        """A cell has its status."""

    def stopping(self) -> None:
        """An interrupt was heard: what is under way is ended, and nothing new is begun."""
