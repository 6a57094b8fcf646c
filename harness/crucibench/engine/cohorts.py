"""Timed cells on their way: cohorts run when nothing else does, and start again without whoever
takes the process down or holds it up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from crucibench.contracts.scenario import Timed
from crucibench.engine.plan import Plan, PlannedCell
from crucibench.engine.tasks import CohortDone, Failed, Gone, Message

Cohort = tuple[PlannedCell, ...]


class Cohorts:
    """The cohorts of a plan, and whose turn it is in the one that runs."""

    def __init__(self, plan: Plan) -> None:
        self._waiting = [
            cohort for cohort in plan.cohorts() if isinstance(cohort[0].scenario, Timed)
        ]
        self._turn: tuple[str, float] | None = None
        self._spent: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def next(self, able: Callable[[PlannedCell], bool]) -> Cohort:
        """Takes out the first cohort all of whose cells are `able` to run."""
        for position, cohort in enumerate(self._waiting):
            if all(able(cell) for cell in cohort):
                del self._waiting[position]
                return cohort
        raise AssertionError("timed cells wait for what will never be settled")

    def started(self) -> None:
        """A cohort begins: it is nobody's turn yet."""
        self._turn, self._spent = None, {}

    def turn(self, cell: str) -> None:
        """A cell's model is asked next."""
        now = time.perf_counter()
        if self._turn is not None:
            before, since = self._turn
            self._spent[before] = self._spent.get(before, 0.0) + now - since
        self._turn = cell, now

    def seconds(self) -> float:
        """Returns for how long the cell whose turn it is has been asked, in all its turns."""
        if self._turn is None:
            return 0.0
        cell, since = self._turn
        return self._spent.get(cell, 0.0) + time.perf_counter() - since

    def whose(self, cells: Cohort) -> PlannedCell:
        """Returns the cell whose turn it is."""
        turn = "" if self._turn is None else self._turn[0]
        return next((cell for cell in cells if cell.id == turn), cells[0])

    def outcome(
        self, cells: Sequence[PlannedCell], message: Message
    ) -> Mapping[str, Failed | None]:
        """Returns what became of each cell; one that is absent is to be run again with the rest."""
        if isinstance(message, CohortDone):
            return {cell.id: message.failed.get(cell.id) for cell in cells}
        if isinstance(message, Gone):
            if message.lost:
                return {}
            message = Failed("worker", message.reason, message.detail)
        if not isinstance(message, Failed):
            raise TypeError(f"a cohort ended with {type(message).__name__}")
        if message.kind == "worn":
            return {}
        blamed = [cell.id for cell in cells] if self._turn is None else [self._turn[0]]
        return dict.fromkeys(blamed, message)
