"""The order of things: which task which worker does next, and what becomes of its answer.

Cells are taken in the order of the plan, once all that they need is settled, so that the outcome is
the same for one worker and for many. A cell is settled when it has been scored, or has failed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import Executor as Pool
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, replace

from crucibench.contracts.scenario import Mapped, Timed
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.cell_work import CellWork
from crucibench.engine.collect.cohorts import Cohort, Cohorts, Turns
from crucibench.engine.collect.interrupt import Interrupt
from crucibench.engine.collect.open_cell import OpenCell
from crucibench.engine.collect.steps import Limits, Running, Steps
from crucibench.engine.executors.base import Executor, Heard
from crucibench.engine.listener import Listener
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.worker.failures import failed, failed_file
from crucibench.engine.worker.tasks import (
    Advanced,
    Began,
    Done,
    Failed,
    Gone,
    LeaseTask,
    Message,
    ProbeTask,
    Reduced,
    TimedTask,
    Waiting,
)
from crucibench.store.cells import CellFile
from crucibench.store.events import Events
from crucibench.util.errors import StoppedError

_HEAR_SECONDS = 0.1
_LOST_AT_MOST = 5
"""How often a task is given to another machine before it is thought to be to blame."""


class Schedule:
    """Runs a plan to its end."""

    def __init__(
        self, plan: Plan, executor: Executor, steps: Steps, *, limits: Limits, events: Events,
        listener: Listener,
    ) -> None:  # fmt: skip
        self._cells = {cell.id: cell for cell in plan}
        self._executor = executor
        self._steps = steps
        self._limits = limits
        self._events = events
        self._listener = listener
        self._interrupt = Interrupt()
        self._pool: Pool | None = None
        self._cohorts = Cohorts(plan)
        self._turns = Turns(())
        self._timing = ""
        self._order = list(self._cells)
        self._unmet: list[int] = []
        self._needed_by: dict[str, list[int]] = {}
        for number, cell in enumerate(plan):
            needs = set(cell.needs.values())
            self._unmet.append(len(needs))
            for other in needs:
                self._needed_by.setdefault(other, []).append(number)
        self._ready = [number for number, unmet in enumerate(self._unmet) if not unmet]
        self._open: list[OpenCell] = []
        self._slots: dict[str, Running] = {}
        self._last: dict[str, tuple[str, str]] = {}
        self._scoring: dict[Future[CellFile], PlannedCell] = {}
        self._left = len(self._cells)
        self._failures = 0

    def run(self) -> None:
        """Settles every cell.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once what was under way is on disk.
            StoppedError: likewise, after more failures than may be.
        """
        with ExitStack() as stack:
            # Scoring in a thread lets workers go on. Where there are none it would only take turns
            # with the model.
            if self._executor.isolated:
                self._pool = stack.enter_context(ThreadPoolExecutor(1, "crucibench-score"))
            stack.enter_context(self._interrupt.heeded(self._listener.stopping))
            try:
                self._loop()
            finally:
                for future in self._scoring:
                    future.cancel()
        if self._interrupt.asked:
            raise KeyboardInterrupt
        if self._left:
            raise StoppedError(
                f"{self._failures} cells failed, more than the {self._limits.failures} that may: "
                f"{self._left} cells were not run; the same command goes on from here"
            )

    def _loop(self) -> None:
        while self._left:
            stopping = self._interrupt.asked or self._too_many
            if not stopping:
                self._hand_out()
            if self._slots:
                for heard in self._executor.hear(_HEAR_SECONDS):
                    self._take(heard)
                self._end_overdue()
            elif self._scoring:
                wait(self._scoring, timeout=_HEAR_SECONDS)
            elif stopping:
                return
            self._settle_scored()

    @property
    def _too_many(self) -> bool:
        return self._limits.failures is not None and self._failures > self._limits.failures

    # -- handing out -------------------------------------------------------------------------

    def _hand_out(self) -> None:
        if any(running.cell is None for running in self._slots.values()):
            return  # whoever is timed has the machine to himself
        for slot in self._executor.slots:
            if slot in self._slots:
                continue
            opened = self._next(slot)
            if opened is None:
                break
            task = opened.work.take()
            self._last[slot] = opened.cell.key[:2]
            self._submit(slot, Running(task, opened))
        busy = self._slots or self._scoring or self._ready
        if not busy and len(self._cohorts):
            self._begin_cohort()

    def _submit(self, slot: str, running: Running) -> None:
        self._slots[slot] = running
        self._executor.submit(slot, running.task)

    def _next(self, slot: str) -> OpenCell | None:
        """Returns a cell with a task: one whose model the slot has open, else the first."""
        while True:
            able = [one for one in self._open if one.work.waiting and self._may_ask(one.cell)]
            for one in able:
                if one.cell.key[:2] == self._last.get(slot):
                    return one
            if able:
                return able[0]
            if not self._ready or self._too_many:
                return None
            self._begin(self._cells[self._order[heapq.heappop(self._ready)]])

    def _may_ask(self, cell: PlannedCell) -> bool:
        # A served model counts its requests in one place, so one worker asks it.
        return not cell.model.remote or all(
            running.cell is None or running.cell.cell.model.name != cell.model.name
            for running in self._slots.values()
        )

    def _begin(self, cell: PlannedCell) -> None:
        if isinstance(cell.scenario, Timed):
            return  # with its cohort, when nothing else is left
        file = self._steps.begin(cell)
        if file.status is not Status.OK or not isinstance(cell.scenario, Mapped):
            self._finish(cell, file)
            return
        self._told_start(cell)
        try:
            work = self._steps.work(cell, file)
        except Exception as error:
            self._finish(cell, failed_file(file, failed(error)))
            return
        if isinstance(work, CellFile):
            self._events.add("cached", cell=cell.id)
            self._listener.advanced(cell, cell.samples)
            self._finish(cell, work)
            return
        opened = OpenCell(work, file)
        self._open.append(opened)
        self._went_on(opened)

    def _told_start(self, cell: PlannedCell) -> None:
        samples = cell.samples if isinstance(cell.scenario, Mapped) else 0
        self._listener.started(cell, samples)
        self._events.add(
            "cell-started", cell=cell.id, model=cell.model.name, data=cell.data.name,
            scenario=cell.scenario.address, samples=samples,
        )  # fmt: skip

    def _begin_cohort(self) -> None:
        numbers = {name: number for number, name in enumerate(self._order)}
        running = []
        for cell in self._cohorts.next(lambda cell: not self._unmet[numbers[cell.id]]):
            file = self._steps.begin(cell)
            if file.status is Status.OK:
                self._told_start(cell)
                running.append(cell)
            else:
                self._finish(cell, file)
        if running:
            self._run_cohort(tuple(running))

    def _run_cohort(self, cells: Cohort) -> None:
        self._steps.cohort(cells)
        self._turns = Turns(cells)
        self._time(self._turns.begin())

    def _time(self, task: TimedTask) -> None:
        if isinstance(task, LeaseTask) and task.hold:
            self._timing = self._executor.slots[0]  # the models of a cohort share a machine
        self._submit(self._timing, Running(task))

    # -- hearing -----------------------------------------------------------------------------

    def _take(self, heard: Heard) -> None:
        running = self._slots.get(heard.slot)
        if running is None:
            return
        match message := heard.message:
            case Began() if running.cell is not None:
                running.begun = True
                running.cell.clock.start()
            case Began():
                pass
            case Waiting():
                self._listener.note(message.what)
            case Advanced():
                running.advanced += message.samples
                self._listener.advanced(self._cells[message.cell], message.samples)
            case Reduced():
                self._reduced(self._cells[message.cell], running, message.batch_size)
            case _:
                self._free(heard.slot)
                if running.cell is None:
                    self._next_turn(heard.slot, message)
                elif isinstance(message, Done):
                    self._done(heard.slot, running, message)
                else:
                    self._not_done(heard.slot, running, message)

    def _free(self, slot: str) -> Running:
        running = self._slots.pop(slot)
        text = self._executor.output(slot)
        if running.cell is not None and running.begun:
            running.cell.clock.stop()
        if text:
            self._steps.log(
                self._turns.cells[0] if isinstance(running.task, LeaseTask) else running.task.cell,
                text,
            )
        return running

    def _reduced(self, cell: PlannedCell, running: Running, size: int) -> None:
        if running.cell is not None:
            running.cell.work.journal.reduce(size)
        self._events.add("backoff", cell=cell.id, batch_size=size, planned=cell.batch_size)

    def _done(self, slot: str, running: Running, done: Done) -> None:
        task, opened = running.task, running.cell
        if opened is None or isinstance(task, TimedTask):
            raise TypeError("a task of a cohort ended like one of a cell")
        place = {} if isinstance(task, ProbeTask) else {"stage": task.stage, "shard": task.shard}
        kind = "shard" if place else "probe"
        cost = asdict(done.cost)
        self._events.add("task", cell=opened.cell.id, kind=kind, worker=slot, **place, **cost)
        if opened.over:  # the cell failed meanwhile; what was computed is not lost
            opened.work.journal.add(done.files, cost)
            return
        try:
            opened.work.done(task, done)
        except Exception as error:  # the scenario's choice for the next stage
            self._fail(opened, failed(error))
        else:
            self._went_on(opened)

    def _not_done(self, slot: str, running: Running, message: Message) -> None:
        task, opened = running.task, running.cell
        if opened is None or isinstance(task, TimedTask) or opened.over:
            return
        self._listener.advanced(opened.cell, -running.advanced)
        if isinstance(message, Gone):
            self._gone(slot, message)
            opened.lost += message.lost
            if message.lost and opened.lost <= _LOST_AT_MOST:
                opened.work.give_back(task)
                return
            message = Failed("worker", message.reason, message.detail)
        if not isinstance(message, Failed):
            raise TypeError(f"a task of a cell ended with {type(message).__name__}")
        if message.kind == "worn":
            self._exchange(slot, message)
            opened.work.give_back(task)
        elif message.kind in {"error", "worker"} and opened.tries < self._limits.retries:
            opened.tries += 1
            opened.work.journal.again(message.reason)
            self._events.add(
                "retried", cell=opened.cell.id, attempt=opened.tries, reason=message.reason
            )
            self._listener.retried(opened.cell.id, message.reason)
            opened.work.give_back(task)
        else:
            self._fail(opened, message)

    def _gone(self, slot: str, message: Gone) -> None:
        state = "lost" if message.lost else "crashed"
        self._events.add("worker", worker=slot, state=state, reason=message.reason)

    def _exchange(self, slot: str, message: Failed) -> None:
        self._executor.stop(slot)
        self._events.add("worker", worker=slot, state="worn", reason=message.reason)

    def _went_on(self, opened: OpenCell) -> None:
        if kept := opened.work.take_kept():
            self._listener.advanced(opened.cell, kept)
        if opened.work.collected:
            self._close(opened)
            self._finish(opened.cell, opened.collected_file(), opened.work)

    def _fail(self, opened: OpenCell, failure: Failed) -> None:
        self._close(opened)
        opened.work.drop()
        self._finish(opened.cell, failed_file(opened.file, failure), opened.work)

    def _close(self, opened: OpenCell) -> None:
        opened.over = True
        self._open.remove(opened)

    def _next_turn(self, slot: str, message: Message) -> None:
        if isinstance(message, Gone):
            self._gone(slot, message)
        elif isinstance(message, Failed) and message.kind == "worn":
            self._exchange(slot, message)
        task = self._turns.take(message)
        if task is not None:
            self._time(task)
            return
        outcome = self._turns.outcome()
        for cell in self._turns.cells:
            failure = outcome[cell.id]
            file = self._steps.begin(cell)
            if failure is None:
                self._steps.timed(cell, self._turns.done[cell.id])
            self._finish(cell, failed_file(file, failure) if failure else file)

    # -- time --------------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        timeout = self._limits.timeout
        failure = Failed(
            "timeout",
            f"the cell took longer than its timeout of {timeout:g} s; what it collected is kept, "
            "and the same command with a longer one goes on from there",
        )
        # A cell that has failed may still be asked about by another worker.
        asked = [one.cell for one in self._slots.values() if one.cell is not None and one.cell.over]
        for opened in [one for one in (*self._open, *asked) if one.clock.read() > timeout]:
            detail = self._stop(lambda running, late=opened: running.cell is late)  # type: ignore[misc]
            if not opened.over:
                self._fail(opened, replace(failure, detail=detail))
        timed = [slot for slot, running in self._slots.items() if running.cell is None]
        if timed and self._turns.seconds() > timeout:
            detail = self._stop(lambda running: running.cell is None)
            self._next_turn(timed[0], replace(failure, detail=detail))

    def _stop(self, who: Callable[[Running], bool]) -> str:
        """Ends what some slots do; returns what they printed, and where their code was."""
        found = ""
        for slot in [slot for slot, running in self._slots.items() if who(running)]:
            found = self._executor.where(slot) or found
            self._executor.stop(slot)
            self._free(slot)
            self._events.add("worker", worker=slot, state="killed", reason="timeout")
        return found

    # -- settling ----------------------------------------------------------------------------

    def _finish(self, cell: PlannedCell, file: CellFile, work: CellWork | None = None) -> None:
        if self._pool is None:
            self._settled(cell, self._steps.finish(cell, file, work))
        else:
            self._scoring[self._pool.submit(self._steps.finish, cell, file, work)] = cell

    def _settle_scored(self) -> None:
        for future in [one for one in self._scoring if one.done()]:
            self._settled(self._scoring.pop(future), future.result())

    def _settled(self, cell: PlannedCell, file: CellFile) -> None:
        self._left -= 1
        self._failures += file.status is Status.FAILED
        for number in self._needed_by.get(cell.id, ()):
            self._unmet[number] -= 1
            if not self._unmet[number]:
                heapq.heappush(self._ready, number)
        self._events.add("cell", cell=cell.id, status=file.status, verdict=file.verdict)
        self._listener.finished(file)
