"""Decides which worker does which task next, and handles the answers.

Cells are taken in the order of the plan, once all that they need is finished, so that the outcome
is the same for one worker and for many. A cell is finished when it has been scored, has failed or
is skipped.

One loop in one thread holds all state: it hands out tasks, polls the executor for messages, ends
what takes too long and finishes cells whose score is there. Only scoring runs beside it.
"""

from __future__ import annotations

import contextlib
import heapq
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor as Pool
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from types import FrameType

from crucibench.contracts.scenario import Mapped, Timed
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.cohort import TimedCohort
from crucibench.engine.collect.lifecycle import CellLifecycle
from crucibench.engine.collect.open_cell import CellTask, OpenCell
from crucibench.engine.executors.base import Executor, SlotMessage
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
from crucibench.util.signals import SignalInterrupt, taken_over

_POLL_SECONDS = 0.1
_LOST_AT_MOST = 5
"""How often a task is given to another machine before it is thought to be to blame."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When to give up.

    Attributes:
        timeout: seconds that a cell's tasks may take in all.
        retries: how often a cell's tasks may be tried again.
        failures: how many cells may fail before the run is stopped; None for any number.
    """

    timeout: float
    retries: int
    failures: int | None


@dataclass
class _Running:
    """What a slot does: a task of an open cell, or (`opened` None) of the cohort being timed."""

    task: CellTask | TimedTask
    opened: OpenCell | None = None
    begun: bool = False
    advanced: int = 0


class Schedule:
    """Runs a plan to its end."""

    def __init__(
        self, plan: Plan, executor: Executor, lifecycle: CellLifecycle, *, limits: Limits,
        events: Events, listener: Listener, go_on: Callable[[], bool] | None = None,
    ) -> None:  # fmt: skip
        """Takes a plan and how to carry it out.

        Args:
            plan: the plan.
            executor: does the tasks.
            lifecycle: prepares and completes the cells.
            limits: when to give up.
            events: the log.
            listener: hears of it.
            go_on: asked each time that all cells have the next shard, before any has another:
                whether they are to have it. They end with what they have where not. None for all.
        """
        self._go_on = go_on
        self._cells = {cell.id: cell for cell in plan}
        self._executor = executor
        self._lifecycle = lifecycle
        self._limits = limits
        self._events = events
        self._listener = listener
        self._interrupt = _Interrupt()
        self._pool: Pool | None = None
        self._cohorts = [one for one in plan.cohorts() if isinstance(one[0].scenario, Timed)]
        self._cohort = TimedCohort(())
        self._timing_slot = ""
        # Ready cells are a heap of places in the plan, so that the earliest of them is taken first,
        # in whatever order their needs were finished.
        self._order = tuple(plan)
        self._unmet = {cell.id: len(set(cell.needs.values())) for cell in plan}
        self._needed_by: dict[str, list[int]] = {}
        for place, cell in enumerate(plan):
            for other in set(cell.needs.values()):
                self._needed_by.setdefault(other, []).append(place)
        self._ready = [place for place, cell in enumerate(plan) if not cell.needs]
        self._open: list[OpenCell] = []
        self._slots: dict[str, _Running] = {}
        self._last_model: dict[str, tuple[str, str]] = {}
        self._scoring: dict[Future[CellFile], PlannedCell] = {}
        self._left = len(self._cells)
        self._failures = 0

    def run(self) -> None:
        """Finishes every cell.

        Raises:
            SignalInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once what was under way is on disk.
            StoppedError: likewise, after more failures than may be.
        """
        with ExitStack() as stack:
            # Scoring in a thread lets workers go on. Without workers it would only take turns with
            # the model. Several threads only where they wait for processes that score.
            if self._executor.isolated:
                threads = 1 if self._lifecycle.score is None else len(self._executor.slots)
                self._pool = stack.enter_context(ThreadPoolExecutor(threads, "crucibench-score"))
            stack.enter_context(self._interrupt.handled(self._listener.stopping))
            try:
                self._loop()
            finally:
                for future in self._scoring:
                    future.cancel()
        for opened in self._open:  # what stopped short: its files count when it goes on
            opened.journal.note_replaced(self._executor.replaced())
        if self._interrupt.requested:
            raise SignalInterrupt(self._interrupt.requested)
        if self._left:
            raise StoppedError(
                f"{self._failures} cells failed, more than the {self._limits.failures} that may: "
                f"{self._left} cells were not run; the same command goes on from here"
            )

    def _loop(self) -> None:
        while self._left:
            # To stop, begin nothing new and wait for what is under way: its records are then on
            # disk, and the same command resumes after them.
            stopping = self._interrupt.requested or self._too_many_failures
            if not stopping:
                self._hand_out()
            if self._slots:
                for message in self._executor.poll(_POLL_SECONDS):
                    self._handle(message)
                self._end_overdue()
            elif self._scoring:
                wait(self._scoring, timeout=_POLL_SECONDS)
            elif stopping:
                return
            elif self._go_on is not None and self._open:
                self._end_block(self._go_on())
            self._finish_scored()

    def _end_block(self, go_on: bool) -> None:
        for opened in list(self._open):
            opened.most = (opened.most or 0) + 1
            if not go_on:
                opened.drop()
            self._continue(opened)

    @property
    def _too_many_failures(self) -> bool:
        return self._limits.failures is not None and self._failures > self._limits.failures

    # -- handing out -------------------------------------------------------------------------

    def _hand_out(self) -> None:
        if any(running.opened is None for running in self._slots.values()):
            return  # a model that is being timed has the machine to itself
        for slot in self._executor.slots:
            if slot in self._slots:
                continue
            opened = self._next_cell(slot)
            if opened is None:
                break
            self._last_model[slot] = opened.cell.key[:2]
            self._submit(slot, _Running(opened.next_task(), opened))
        # Timing comes last and alone: another task, or scoring, would take processor time from it.
        busy = self._slots or self._scoring or self._ready
        if not busy and self._cohorts:
            self._begin_cohort()

    def _submit(self, slot: str, running: _Running) -> None:
        self._slots[slot] = running
        self._executor.submit(slot, running.task)

    def _next_cell(self, slot: str) -> OpenCell | None:
        """Returns a cell with a task: one whose model the slot has open, else the first.

        Opening a model is dear. Which worker does a shard changes no record: the plan has fixed
        shards and batches.
        """
        while True:
            able = [one for one in self._open if one.waiting and self._may_ask(one.cell)]
            for one in able:
                if one.cell.key[:2] == self._last_model.get(slot):
                    return one
            if able:
                return able[0]
            if not self._ready or self._too_many_failures:
                return None
            self._begin(self._order[heapq.heappop(self._ready)])

    def _may_ask(self, cell: PlannedCell) -> bool:
        # A served model's requests are counted and rationed in one place: one worker asks it.
        return not cell.model.remote or all(
            running.opened is None or running.opened.cell.model.name != cell.model.name
            for running in self._slots.values()
        )

    def _begin(self, cell: PlannedCell) -> None:
        if isinstance(cell.scenario, Timed):
            return  # with its cohort, when nothing else is left
        file = self._lifecycle.begin(cell)
        if file.status is not Status.OK or not isinstance(cell.scenario, Mapped):
            self._finish(cell, file)
            return
        self._announce(cell, cell.samples)
        try:
            opened = self._lifecycle.open(cell, file)
        except Exception as error:
            self._finish(cell, failed_file(file, failed(error)))
            return
        if isinstance(opened, CellFile):
            self._events.add("cached", cell=cell.id)
            self._listener.advanced(cell, cell.samples)
            self._finish(cell, opened)
            return
        if self._go_on is not None:
            opened.most = 1
        self._open.append(opened)
        self._continue(opened)

    def _announce(self, cell: PlannedCell, samples: int) -> None:
        self._listener.started(cell, samples)
        self._events.add(
            "cell-started", cell=cell.id, model=cell.model.name, data=cell.data.name,
            scenario=cell.scenario.address, samples=samples,
        )  # fmt: skip

    def _begin_cohort(self) -> None:
        ready = [one for one in self._cohorts if not any(self._unmet[cell.id] for cell in one)]
        if not ready:
            raise AssertionError("timed cells wait for what will never be finished")
        self._cohorts.remove(ready[0])
        able = []
        for cell in ready[0]:
            file = self._lifecycle.begin(cell)
            if file.status is Status.OK:
                self._announce(cell, 0)
                able.append(cell)
            else:
                self._finish(cell, file)
        if able:
            self._lifecycle.begin_cohort(able)
            self._cohort = TimedCohort(able)
            self._submit_timed(self._cohort.start())

    def _submit_timed(self, task: TimedTask) -> None:
        if isinstance(task, LeaseTask) and task.hold:
            self._timing_slot = self._executor.slots[0]  # models of a cohort share a machine
        self._submit(self._timing_slot, _Running(task))

    # -- messages ----------------------------------------------------------------------------

    def _handle(self, received: SlotMessage) -> None:
        running = self._slots.get(received.slot)
        if running is None:
            return  # a message that was under way when the slot was stopped
        match message := received.message:
            case Began():
                running.begun = True
                if running.opened is not None:
                    running.opened.stopwatch.start()
            case Waiting():
                self._listener.note(message.what)
            case Advanced():
                running.advanced += message.samples
                self._listener.advanced(self._cells[message.cell], message.samples)
            case Reduced(cell, size):
                if running.opened is not None:
                    running.opened.journal.reduce(size)
                planned = self._cells[cell].batch_size
                self._events.add("backoff", cell=cell, batch_size=size, planned=planned)
            case _:
                self._free(received.slot)
                if running.opened is None:
                    self._next_timed(received.slot, message)
                elif isinstance(message, Done):
                    self._done(received.slot, running, running.opened, message)
                else:
                    self._not_done(received.slot, running, running.opened, message)

    def _free(self, slot: str) -> None:
        running = self._slots.pop(slot)
        if running.opened is not None and running.begun:
            running.opened.stopwatch.stop()
        if text := self._executor.output(slot):
            task = running.task
            cell = self._cohort.cells[0] if isinstance(task, LeaseTask) else task.cell
            self._lifecycle.log(cell, text)

    def _done(self, slot: str, running: _Running, opened: OpenCell, done: Done) -> None:
        task = running.task
        assert not isinstance(task, TimedTask)
        place = {} if isinstance(task, ProbeTask) else {"stage": task.stage, "shard": task.shard}
        kind = "shard" if place else "probe"
        cost = asdict(done.cost)
        self._events.add("task", cell=opened.cell.id, kind=kind, worker=slot, **place, **cost)
        if opened.over:  # the cell failed meanwhile; what was computed is not lost
            opened.journal.add(done.files, cost)
            return
        try:
            opened.done(task, done)
        except Exception as error:  # raised by the scenario's choice for the next stage
            self._fail(opened, failed(error))
        else:
            self._continue(opened)

    def _not_done(self, slot: str, running: _Running, opened: OpenCell, message: Message) -> None:
        """Gives a task back, to be tried again, or ends its cell.

        A lost machine and a worn process are not the task's fault: they cost it no retry.
        """
        task = running.task
        if isinstance(task, TimedTask) or opened.over:
            return
        self._listener.advanced(opened.cell, -running.advanced)  # a task counts whole or not at all
        self._note_end(slot, message)
        if isinstance(message, Gone):
            opened.lost += message.lost
            # A scheduler sends its signal to workers too: what they were at is dropped.
            ended = message.killed and self._interrupt.requested
            if ended or (message.lost and opened.lost <= _LOST_AT_MOST):
                opened.put_back(task)
                return
            message = Failed("worker", message.reason, message.detail)
        if not isinstance(message, Failed):
            raise TypeError(f"a task of a cell ended with {type(message).__name__}")
        if message.kind == "worn":
            opened.put_back(task)
        elif message.kind in {"error", "worker"} and opened.tries < self._limits.retries:
            opened.tries += 1
            opened.journal.note_retry(message.reason)
            self._events.add(
                "retried", cell=opened.cell.id, attempt=opened.tries, reason=message.reason
            )
            self._listener.retried(opened.cell.id, message.reason)
            opened.put_back(task)
        else:
            self._fail(opened, message)

    def _note_end(self, slot: str, message: Message) -> None:
        """Notes that a worker has ended; a worn-out one is ended, so that a new one follows it."""
        if isinstance(message, Gone):
            state = "lost" if message.lost else "crashed"
        elif isinstance(message, Failed) and message.kind == "worn":
            self._executor.stop(slot)
            state = "worn"
        else:
            return
        self._events.add("worker", worker=slot, state=state, reason=message.reason)

    def _continue(self, opened: OpenCell) -> None:
        if found := opened.take_found():
            self._listener.advanced(opened.cell, found)
        if opened.collected:
            self._close(opened)
            self._finish(opened.cell, opened.collected_file(), opened)

    def _fail(self, opened: OpenCell, failure: Failed) -> None:
        self._close(opened)
        opened.drop()
        self._finish(opened.cell, failed_file(opened.file, failure), opened)

    def _close(self, opened: OpenCell) -> None:
        opened.over = True
        self._open.remove(opened)

    def _next_timed(self, slot: str, message: Message) -> None:
        self._note_end(slot, message)
        task = self._cohort.answered(message)
        if task is not None:
            self._submit_timed(task)
            return
        outcome = self._cohort.outcome()
        for cell in self._cohort.cells:
            failure = outcome[cell.id]
            file = self._lifecycle.begin(cell)
            if failure is None:
                self._lifecycle.add_rounds(cell, self._cohort.done[cell.id])
            self._finish(cell, failed_file(file, failure) if failure else file)

    # -- timeouts ----------------------------------------------------------------------------

    def _end_overdue(self) -> None:
        timeout = self._limits.timeout
        failure = Failed(
            "timeout",
            f"the cell took longer than its timeout of {timeout:g} s; what it collected is kept, "
            "and the same command with a longer one goes on from there",
        )
        # A cell that has failed may still be asked about by another worker.
        asked = [one.opened for one in self._slots.values() if one.opened and one.opened.over]
        for opened in [one for one in (*self._open, *asked) if one.stopwatch.read() > timeout]:
            detail = self._stop(opened)
            if not opened.over:
                self._fail(opened, replace(failure, detail=detail))
        timed = [slot for slot, running in self._slots.items() if running.opened is None]
        if timed and self._cohort.seconds() > timeout:
            detail = self._stop(None)
            self._next_timed(timed[0], replace(failure, detail=detail))

    def _stop(self, whose: OpenCell | None) -> str:
        """Ends the tasks of a cell, or of the cohort; returns what was printed, and where it was.

        `Executor.where` is asked before the process is ended: it shows the user's own line.
        """
        found = ""
        for slot in [slot for slot, one in self._slots.items() if one.opened is whose]:
            found = self._executor.where(slot) or found
            self._executor.stop(slot)
            self._free(slot)
            self._events.add("worker", worker=slot, state="killed", reason="timeout")
        return found

    # -- finishing ---------------------------------------------------------------------------

    def _finish(self, cell: PlannedCell, file: CellFile, opened: OpenCell | None = None) -> None:
        if cell.id in self._lifecycle.journals:
            self._lifecycle.journals[cell.id].note_replaced(self._executor.replaced())
        if self._pool is None:
            self._finished(cell, self._lifecycle.finish(cell, file, opened))
        else:
            self._scoring[self._pool.submit(self._lifecycle.finish, cell, file, opened)] = cell

    def _finish_scored(self) -> None:
        for future in [one for one in self._scoring if one.done()]:
            self._finished(self._scoring.pop(future), future.result())

    def _finished(self, cell: PlannedCell, file: CellFile) -> None:
        self._left -= 1
        self._failures += file.status is Status.FAILED
        for place in self._needed_by.get(cell.id, ()):
            needing = self._order[place].id
            self._unmet[needing] -= 1
            if not self._unmet[needing]:
                heapq.heappush(self._ready, place)
        self._events.add("cell", cell=cell.id, status=file.status, verdict=file.verdict)
        self._listener.finished(file)


class _Interrupt:
    """Ctrl-C, SIGTERM, SIGHUP: once asks to stop after what is under way, twice stops now.

    Attributes:
        requested: the number of the signal that asked; 0 before.
    """

    def __init__(self) -> None:
        self.requested = 0

    @contextlib.contextmanager
    def handled(self, notify: Callable[[], None]) -> Iterator[None]:
        """Takes the signals over; the second one raises SignalInterrupt wherever it comes.

        A handler that the program itself has put there is left alone, and only the main thread can
        have one.
        """
        taken = taken_over()

        def handle(number: int, frame: FrameType | None) -> None:
            if self.requested:
                raise SignalInterrupt(number)
            self.requested = number
            with contextlib.suppress(Exception):  # a failing display must not end the task
                notify()

        for number in taken:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number, before in taken.items():
                signal.signal(number, before)
