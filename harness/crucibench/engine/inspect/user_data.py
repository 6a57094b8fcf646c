"""Data that the user's own code makes: called in a process apart, away from engine and models."""

from __future__ import annotations

from collections.abc import Mapping

from crucibench.engine.executors.base import Executor
from crucibench.engine.executors.local import LocalExecutor
from crucibench.engine.listener import Listener
from crucibench.engine.resolve.resolve import Resolved
from crucibench.engine.worker.tasks import FINAL, DataTask, Failed, Gone, Made, Message, Setup
from crucibench.util.errors import CrucibenchError, InputError

_HEAR_SECONDS = 0.1


def made_by_users(resolved: Resolved) -> tuple[str, ...]:
    """Returns the data sets of tracks that the user's code makes, in whole or in part."""
    used = {track.data for track in resolved.tracks}
    return tuple(
        name
        for name, entry in resolved.data.items()
        if name in used
        and entry.live is None
        and (entry.source.runs_code or any(further.source.runs_code for further in entry.further))
    )


def make_apart(
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
        for heard in executor.hear(_HEAR_SECONDS):
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
