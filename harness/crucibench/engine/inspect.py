"""Inspect: let an executor make users' data, and open every model on every data set it meets."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crucibench.contracts.data import DataCard, EvalSet
from crucibench.contracts.evidence import ModelInfo
from crucibench.engine.executors.base import Executor, SlotMessage
from crucibench.engine.executors.local import LocalExecutor
from crucibench.engine.fixed_probe import ProbeAnswer, fixed_probe_rows
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
    MadeData,
    Message,
    Setup,
)
from crucibench.spec.check import Mistakes
from crucibench.util.errors import CrucibenchError, InputError, StoppedError, UnavailableError
from crucibench.util.source_files import portable_names

_POLL_SECONDS = 0.1
_LOST_AT_MOST = 5

Pair = tuple[str, str]
"""(model, data set)."""
T = TypeVar("T")


@dataclass
class Inspection:
    """What inspection found.

    Attributes:
        data: the opened data sets by name.
        models: by (model, data set).
        seconds_per_sample: measured on the probe batch, by (model, data set).
        batch_sizes: what ``auto`` comes to, by (model, data set).
        probes: what each model answers to the fixed probe, by (model, data set), where it does.
        errors: why a model could not be inspected, by (model, data set); `UnavailableError` of a
            form of a model that can't be had on this machine.
        reads: files that each model read besides those that the spec names, by model: absolute
            path to SHA-256; under "" those of data.
        environment: the environment variables that the code of each model read, by model; under
            "" those of data.
    """

    data: dict[str, EvalSet] = field(default_factory=dict)
    models: dict[Pair, ModelInfo] = field(default_factory=dict)
    seconds_per_sample: dict[Pair, float] = field(default_factory=dict)
    batch_sizes: dict[Pair, int] = field(default_factory=dict)
    probes: dict[Pair, ProbeAnswer] = field(default_factory=dict)
    errors: dict[Pair, CrucibenchError] = field(default_factory=dict)
    reads: dict[str, dict[str, str]] = field(default_factory=dict)
    environment: dict[str, set[str]] = field(default_factory=dict)

    @property
    def cards(self) -> dict[str, DataCard]:
        """The data cards by name."""
        return {name: evalset.card for name, evalset in self.data.items()}

    def observed(self, variables: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
        """Returns by model what its code was seen to read, without what was not read at all.

        Args:
            variables: keyed digests of the variables of `environment`.
        """
        found: dict[str, dict[str, Any]] = {}
        for model, digests in self.reads.items():
            if names := portable_names(digests):
                files = {name: digests[file] for file, name in names.items()}
                found.setdefault(model, {})["files"] = files
        for model, read in variables.items():
            if read:
                found.setdefault(model, {})["variables"] = dict(read)
        return found


def inspect(
    resolved: Resolved,
    data: dict[str, EvalSet],
    executor: Executor,
    listener: Listener,
    where: str,
    *,
    keep_going: bool = False,
    retries: int = 0,
) -> Inspection:
    """Inspects every model on every data set that it meets.

    Args:
        resolved: the spec.
        data: the open data sets, by name.
        executor: where models are opened.
        listener: hears of each.
        where: what mistakes are reported of.
        keep_going: whether models that can be opened are enough.
        retries: how often a pair is inspected again whose worker the system has killed.

    Raises:
        StoppedError: if all that went wrong is workers that the system has killed.
        InputError: all that went wrong, at once; with `keep_going`, or if all of it is forms of
            models that can't be had on this machine, only if no model is left.
    """
    pairs = list(
        dict.fromkeys((name, track.data) for track in resolved.tracks for name in track.models)
    )
    probes = {
        name: fixed_probe_rows(data[name]) for name in dict.fromkeys(data for _, data in pairs)
    }
    found = Inspection(data=data)
    queue = _InspectionQueue(resolved, executor, listener, found, probes, deque(pairs), retries)
    while queue.left or queue.asked:
        queue.hand_out()
        for message in executor.poll(_POLL_SECONDS):
            queue.handle(message)
        queue.end_overdue()
    # In the order of the spec, whichever worker was first.
    found.models, found.errors = _in_order(found.models, pairs), _in_order(found.errors, pairs)
    mistaken = not all(isinstance(entry, UnavailableError) for entry in found.errors.values())
    if found.errors and not (found.models and (keep_going or not mistaken)):
        if all(isinstance(entry, StoppedError) for entry in found.errors.values()):
            raise next(iter(found.errors.values()))
        mistakes = Mistakes(where)
        for (name, dataset), failure in found.errors.items():
            mistakes.add(f"model {name!r} on {dataset!r}", str(failure))
        report(mistakes, [entry.detail for entry in found.errors.values() if entry.detail])
    return found


@dataclass
class _InspectionQueue:
    """The pairs of model and data set to inspect, and which slot is inspecting which.

    Attributes:
        probes: by data set, the rows of the fixed probe.
        left: the pairs that wait.
        retries: how often a pair is inspected again whose worker the system has killed.
        asked: by slot, the pair, and since when it is being inspected (None before it began).
        lost: how often the machine was lost that inspected a pair.
        killed: how often the system killed the worker that inspected a pair.
    """

    resolved: Resolved
    executor: Executor
    listener: Listener
    found: Inspection
    probes: Mapping[str, tuple[int, ...]]
    left: deque[Pair]
    retries: int
    asked: dict[str, tuple[Pair, float | None]] = field(default_factory=dict)
    lost: Counter[Pair] = field(default_factory=Counter)
    killed: Counter[Pair] = field(default_factory=Counter)

    def hand_out(self) -> None:
        for slot in self.executor.slots:
            if self.left and slot not in self.asked:
                model, data = pair = self.left.popleft()
                self.listener.note(f"inspecting {model} on {data}")
                self.asked[slot] = pair, None
                known = self.resolved.batch_sizes.get(model, {}).get(data)
                task = InspectTask(
                    model=model, data=data, batch_size=known, probe=self.probes[data]
                )
                self.executor.submit(slot, task)

    def handle(self, received: SlotMessage) -> None:
        slot, message = received.slot, received.message
        if slot not in self.asked:
            return
        pair, _ = self.asked[slot]
        if isinstance(message, Began):
            self.asked[slot] = pair, time.perf_counter()
        elif isinstance(message, FINAL):
            del self.asked[slot]
            self.executor.output(slot)  # what a model prints now belongs to no cell
            if self._is_to_be_repeated(slot, pair, message):
                self.left.append(pair)
            elif isinstance(message, Inspected):
                self._keep(pair, message)
            else:
                what = "model {!r} on {!r} could not be inspected".format(*pair)
                self.found.errors[pair] = _refusal(message, "it can't be opened", what)

    def _is_to_be_repeated(self, slot: str, pair: Pair, message: Message) -> bool:
        if isinstance(message, Failed) and message.kind == "worn":
            self.executor.stop(slot)
            return True
        if isinstance(message, Gone) and message.lost:
            self.lost[pair] += 1
            return self.lost[pair] <= _LOST_AT_MOST
        if isinstance(message, Gone) and message.killed and self.killed[pair] < self.retries:
            self.killed[pair] += 1
            self.listener.note(f"again: {pair[0]} on {pair[1]}: {message.reason}")
            return True
        return False

    def _keep(self, pair: Pair, message: Inspected) -> None:
        self.found.models[pair] = message.info
        self.found.seconds_per_sample[pair] = message.seconds_per_sample
        self.found.batch_sizes[pair] = message.batch_size
        self.found.reads.setdefault(pair[0], {}).update(message.reads)
        if message.environment:  # of a model that stays open, the second data set shows none
            self.found.environment.setdefault(pair[0], set()).update(message.environment)
        if message.probe is not None:
            self.found.probes[pair] = message.probe

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


def _in_order(part: dict[Pair, T], pairs: list[Pair]) -> dict[Pair, T]:
    return {pair: part[pair] for pair in pairs if pair in part}


def _refusal(message: Message, what: str, killed: str) -> CrucibenchError:
    """Returns why a model or data set can't be had.

    Args:
        message: how the task ended.
        what: comes before what was raised.
        killed: comes before how the system killed the worker.
    """
    match message:
        case Gone(reason, detail, _, True):
            return StoppedError(f"{killed}: {reason}", detail=detail or None)
        case Failed("unavailable", reason, _):
            return UnavailableError(reason)
        case Failed("input", reason, detail):
            return InputError(reason, detail=detail or None)
        case Failed(_, reason, detail) | Gone(reason, detail):
            return InputError(f"{what}: {reason}", detail=detail or None)
        case _:
            raise TypeError(f"a task of inspection ended with {type(message).__name__}")


def user_made_data(resolved: Resolved) -> tuple[str, ...]:
    """Returns the data sets of tracks that the user's code makes, in whole or in part."""
    used = {track.data for track in resolved.tracks}
    return tuple(
        name
        for name, entry in resolved.data.items()
        if name in used
        and entry.live is None
        and (entry.source.runs_code or any(one.source.runs_code for one in entry.suite_data))
    )


def make_user_data(
    executor: Executor, setup: Setup, listener: Listener, retries: int = 0
) -> Mapping[str, MadeData | CrucibenchError]:
    """Has each data set of `setup.makes` made in a process of its own on this machine.

    The user's code runs away from the engine and from all models: what it changes in its process
    reaches nobody. A local executor hands what was made on to its other processes.

    Returns:
        What was made, or why it could not be, by data set.

    Raises:
        StoppedError: if the system has killed the process more than `retries` times.
    """
    here = executor if isinstance(executor, LocalExecutor) else LocalExecutor(1, setup.threads)
    found: dict[str, MadeData | CrucibenchError] = {}
    try:
        here.prepare(setup)
        for name in setup.makes:
            listener.note(f"making {name}")
            for tries in range(retries + 1):
                message = here.do(DataTask(data=name))
                here.stop(here.slots[0])
                if not (isinstance(message, Gone) and message.killed):
                    break
                if tries < retries:
                    listener.note(f"again: making {name}: {message.reason}")
            if isinstance(message, MadeData):
                here.share(message)
                found[name] = message
                continue
            error = _refusal(message, "it can't be read", f"data {name!r} could not be made")
            if isinstance(error, StoppedError):
                raise error
            found[name] = error
    finally:
        if here is not executor:
            here.close()
    return found
