"""Inspect: let an executor make users' data, and open every model on every data set it meets."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from crucibench.contracts.data import EvalSet
from crucibench.engine.executors.base import Executor, SlotMessage
from crucibench.engine.executors.local import LocalExecutor
from crucibench.engine.fixed_probe import fixed_probe_rows
from crucibench.engine.inspected import Inspection
from crucibench.engine.listener import Listener
from crucibench.engine.resolve.resolve import Resolved
from crucibench.engine.worker.opening import report
from crucibench.engine.worker.tasks import (
    FINAL,
    Began,
    DataTask,
    Failed,
    Gone,
    Inspected,
    InspectTask,
    Made,
    Message,
    Setup,
)
from crucibench.spec.check import Mistakes
from crucibench.util.errors import CrucibenchError, InputError, UnavailableError

_POLL_SECONDS = 0.1
_LOST_AT_MOST = 5

Pair = tuple[str, str]
T = TypeVar("T")


def inspect(
    resolved: Resolved,
    data: dict[str, EvalSet],
    executor: Executor,
    listener: Listener,
    where: str,
    *,
    keep_going: bool = False,
) -> Inspection:
    """Inspects every model on every data set that it meets.

    Raises:
        InputError: all that went wrong, at once; with `keep_going`, or if all of it is forms of
            models that can't be had on this machine, only if no model is left.
    """
    pairs = [(name, track.data) for track in resolved.tracks for name in track.models]
    found = Inspection(data=data)
    probes = {
        name: fixed_probe_rows(data[name]) for name in dict.fromkeys(pair[1] for pair in pairs)
    }
    questions = _Questions(resolved, executor, listener, found, deque(dict.fromkeys(pairs)), probes)
    while questions.left or questions.asked:
        questions.ask()
        for heard in executor.poll(_POLL_SECONDS):
            questions.take(heard)
        questions.end_overdue()
    found.models, found.errors = _in_order(found.models, pairs), _in_order(found.errors, pairs)
    mistaken = not all(isinstance(entry, UnavailableError) for entry in found.errors.values())
    if found.errors and not (found.models and (keep_going or not mistaken)):
        mistakes = Mistakes(where)
        for (name, dataset), failure in found.errors.items():
            mistakes.add(f"model {name!r} on {dataset!r}", str(failure))
        report(mistakes, [entry.detail for entry in found.errors.values() if entry.detail])
    return found


@dataclass
class _Questions:
    """What is still to be asked, and who is being asked."""

    resolved: Resolved
    executor: Executor
    listener: Listener
    found: Inspection
    left: deque[Pair]
    probes: Mapping[str, tuple[int, ...]]
    """By data set, the rows of the fixed probe."""
    asked: dict[str, tuple[Pair, float | None]] = field(default_factory=dict)
    """The pair that a slot is about, and since when."""
    lost: Counter[Pair] = field(default_factory=Counter)

    def ask(self) -> None:
        for slot in self.executor.slots:
            if self.left and slot not in self.asked:
                pair = self.left.popleft()
                self.listener.note(f"inspecting {pair[0]} on {pair[1]}")
                self.asked[slot] = pair, None
                known = self.resolved.batch_sizes.get(pair[0], {}).get(pair[1])
                task = InspectTask(
                    model=pair[0], data=pair[1], batch_size=known, probe=self.probes[pair[1]]
                )
                self.executor.submit(slot, task)

    def take(self, heard: SlotMessage) -> None:
        if isinstance(heard.message, Began) and heard.slot in self.asked:
            self.asked[heard.slot] = self.asked[heard.slot][0], time.perf_counter()
        if not isinstance(heard.message, FINAL) or heard.slot not in self.asked:
            return
        pair, _ = self.asked.pop(heard.slot)
        self.executor.output(heard.slot)
        if self._again(pair, heard):
            self.left.append(pair)
        else:
            _keep(self.found, pair, heard.message)

    def _again(self, pair: Pair, heard: SlotMessage) -> bool:
        message = heard.message
        if isinstance(message, Failed) and message.kind == "worn":
            self.executor.stop(heard.slot)
            return True
        if isinstance(message, Gone) and message.lost:
            self.lost[pair] += 1
            return self.lost[pair] <= _LOST_AT_MOST
        return False

    def end_overdue(self) -> None:
        timeout = self.resolved.spec.defaults.timeout
        for slot, (pair, since) in list(self.asked.items()):
            if since is not None and time.perf_counter() - since > timeout:
                detail = self.executor.where(slot)
                self.executor.stop(slot)
                self.executor.output(slot)
                del self.asked[slot]
                self.found.errors[pair] = InputError(
                    f"it did not open and answer a probe batch within the timeout of {timeout:g} s",
                    detail=detail or None,
                )


def _keep(found: Inspection, pair: Pair, message: Message) -> None:
    match message:
        case Inspected():
            found.models[pair] = message.info
            found.seconds_per_sample[pair] = message.seconds_per_sample
            found.batch_sizes[pair] = message.batch_size
            found.reads |= message.reads
            if message.probe is not None:
                found.probes[pair] = message.probe
        case Failed("unavailable", reason, _):
            found.errors[pair] = UnavailableError(reason)
        case Failed("input", reason, detail):
            found.errors[pair] = InputError(reason, detail=detail or None)
        case Failed(_, reason, detail):
            found.errors[pair] = InputError(f"it can't be opened: {reason}", detail=detail or None)
        case Gone(reason, detail):
            found.errors[pair] = InputError(f"it can't be opened: {reason}", detail=detail or None)
        case _:
            raise TypeError(f"inspection ended with {type(message).__name__}")


def _in_order(part: dict[Pair, T], pairs: list[Pair]) -> dict[Pair, T]:
    # As the spec names them, whichever worker was first.
    return {pair: part[pair] for pair in dict.fromkeys(pairs) if pair in part}


def user_made_data(resolved: Resolved) -> tuple[str, ...]:
    """Returns the data sets of tracks that the user's code makes, in whole or in part."""
    used = {track.data for track in resolved.tracks}
    return tuple(
        name
        for name, entry in resolved.data.items()
        if name in used
        and entry.live is None
        and (entry.source.runs_code or any(further.source.runs_code for further in entry.further))
    )


def make_user_data(
    executor: Executor, setup: Setup, listener: Listener
) -> Mapping[str, Made | CrucibenchError]:
    """Lets each data set of `setup.makes` be made in a process of its own on this machine.

    A local executor hands what was made on to its other processes.

    Returns:
        What was made, or why it could not be, by data set.
    """
    here = executor if isinstance(executor, LocalExecutor) else LocalExecutor(1, setup.threads)
    found: dict[str, Made | CrucibenchError] = {}
    try:
        here.prepare(setup)
        slot = here.slots[0]
        for name in setup.makes:
            listener.note(f"making {name}")
            here.submit(slot, DataTask(data=name))
            message = _answer(here)
            here.stop(slot)
            if isinstance(message, Made):
                here.share(message)
            found[name] = message if isinstance(message, Made) else _refusal(message)
    finally:
        if here is not executor:
            here.close()
    return found


def _answer(executor: Executor) -> Message:
    while True:
        for heard in executor.poll(_POLL_SECONDS):
            if isinstance(heard.message, FINAL):
                return heard.message


def _refusal(message: Message) -> CrucibenchError:
    match message:
        case Failed("input", reason, detail):
            return InputError(reason, detail=detail or None)
        case Failed(_, reason, detail) | Gone(reason, detail):
            return InputError(f"it can't be read: {reason}", detail=detail or None)
        case _:
            raise TypeError(f"making data ended with {type(message).__name__}")
