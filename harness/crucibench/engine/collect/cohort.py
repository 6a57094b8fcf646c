"""A cohort of timed cells: the models of one timed scenario take turns, round by round, A B A B.

Machines drift (heat, other load): models that are timed one after the other differ by the drift,
models that take turns share it. Each model has its own process, which rests while it is not its
turn. A model that raises, hangs or takes its process down leaves the cohort; the others go on.
Where memory does not hold all of them, they are timed in blocks, and the first model of the cohort
is in each: two models are compared by the rounds that they have in common.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence

from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.worker.tasks import (
    CloseTask,
    Done,
    Failed,
    Gone,
    LeaseTask,
    Message,
    Opened,
    OpenTask,
    RoundDone,
    RoundTask,
    TimedTask,
)

_RESTARTS = 5
"""How often a cohort starts again, besides once a model, whose process may be worn out."""


class TimedCohort:
    """One cohort that is being timed: which task is next, and what became of each cell.

    Attributes:
        cells: of the cohort.
        done: by cell, what its rounds left on disk.
        failed: by cell, how it ended.
        task: the one that is under way; None before the first and after the last.
    """

    def __init__(self, cells: Sequence[PlannedCell]) -> None:
        self.cells = tuple(cells)
        self.done: dict[str, Done] = {}
        self.failed: dict[str, Failed] = {}
        self.task: TimedTask | None = None
        self._spent: dict[str, float] = {}
        self._since = 0.0
        self._tasks = self._script()

    def start(self) -> TimedTask:
        """Returns the first task."""
        self.task = next(self._tasks)
        self._since = time.perf_counter()
        return self.task

    def answered(self, message: Message) -> TimedTask | None:
        """Takes the last message of a task; returns the next task, None where all is done."""
        cell = self.cell
        if cell is not None:
            self._spent[cell.id] = self.seconds()
        try:
            self.task = self._tasks.send(message)
        except StopIteration:
            self.task = None
        self._since = time.perf_counter()
        return self.task

    @property
    def cell(self) -> PlannedCell | None:
        """The cell whose turn it is."""
        return None if self.task is None or isinstance(self.task, LeaseTask) else self.task.cell

    def seconds(self) -> float:
        """Returns the seconds that the cell whose turn it is has taken, in all its turns."""
        if self.cell is None:
            return 0.0
        return self._spent.get(self.cell.id, 0.0) + time.perf_counter() - self._since

    def outcome(self) -> Mapping[str, Failed | None]:
        """Returns what became of each cell, once all is done."""
        lost = Failed("worker", "the machine that timed it was lost again and again")
        return {
            cell.id: None if cell.id in self.done else self.failed.get(cell.id, lost)
            for cell in self.cells
        }

    def _script(self) -> Generator[TimedTask, Message, None]:
        """Yields the tasks of the cohort in order, and is sent the last message of each.

        A generator: what comes next depends on the answers, and reads as the loop that it is.
        """
        for _ in range(_RESTARTS + len(self.cells)):
            self.done.clear()
            try:
                if (yield from self._ask(LeaseTask(hold=True), self.cells)) is None:
                    return
                yield from self._timed()
            except _RestartError:
                continue
            yield LeaseTask(hold=False)
            return

    def _timed(self) -> Generator[TimedTask, Message, None]:
        """Times all cells that have not failed, block by block as memory holds them."""
        waiting = [cell for cell in self.cells if cell.id not in self.failed]
        # The model that all blocks have in common; it stays open from block to block, and its
        # rounds of all blocks are written together at the end.
        first: PlannedCell | None = None
        number = 0
        while waiting:
            block: list[PlannedCell] = []
            crowded = False
            for cell in [*([] if first is None else [first]), *waiting]:
                if crowded and len(block) > 1:
                    break
                opened = yield from self._ask(OpenTask(cell=cell, more=cell is first), [cell])
                if isinstance(opened, Opened):
                    crowded = opened.crowded
                    block.append(cell)
                waiting = [other for other in waiting if other is not cell]
            number = yield from self._rounds(block, number)
            block = [cell for cell in block if cell.id not in self.failed]
            first = next(iter(block), None)
            for cell in block:
                if cell is not first or not waiting:
                    closed = yield from self._ask(CloseTask(cell=cell), [cell])
                    if isinstance(closed, Done):
                        self.done[cell.id] = closed

    def _rounds(
        self, block: Sequence[PlannedCell], number: int
    ) -> Generator[TimedTask, Message, int]:
        """Runs the rounds of a block, from `number` on; returns the next number."""
        running = list(block)
        while running:
            for cell in list(running):
                answer = yield from self._ask(RoundTask(cell=cell, number=number), [cell])
                if not isinstance(answer, RoundDone) or answer.last:
                    running.remove(cell)
            number += 1
        return number

    def _ask(
        self, task: TimedTask, cells: Sequence[PlannedCell]
    ) -> Generator[TimedTask, Message, Message | None]:
        """Hands out a task; returns its answer, or None if it ended `cells`."""
        message = yield task
        if isinstance(message, Gone):
            if message.lost:
                raise _RestartError
            message = Failed("worker", message.reason, message.detail)
        if isinstance(message, Failed):
            if message.kind == "worn":
                raise _RestartError
            self.failed |= {cell.id: message for cell in cells}
            return None
        return message


class _RestartError(Exception):
    """The machine was lost, or a used process ran out of memory: no model is to blame.

    The whole cohort starts again, since rounds of different times don't pair.
    """
