"""The worker's side of Ray: an actor on a node, with a worker process of its own.

The actor opens no model and reads no data: it passes tasks to a process like those of the local
executor, and answers back. So a model that takes its process down is reported as it is on one
machine, with its exit code and the end of its log; and where the actor itself dies, something other
than the model is to blame.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crucibench.engine.executors.child import Packed, pack
from crucibench.engine.executors.local import LocalExecutor
from crucibench.engine.worker.tasks import DataTask, FactsTask, MadeData

# Between calls an actor can be asked where the code is: it waits no longer than that in one.
_POLL_SECONDS = 1.0
_SEE_SECONDS = 5.0


@dataclass(frozen=True)
class DriverPaths:
    """From where the driver imports: nodes that have the same folders import from the same.

    Attributes:
        path: the driver's `sys.path`, as far as it exists.
        folder: its working folder.
    """

    path: tuple[str, ...]
    folder: str

    @classmethod
    def here(cls) -> DriverPaths:
        """Returns this process's."""
        folder = str(Path.cwd())
        path = dict.fromkeys(str(Path(folder, entry)) for entry in sys.path)
        return cls(tuple(entry for entry in path if Path(entry).exists()), folder)

    def path_on_node(self) -> list[str]:
        """Returns the `sys.path` for a worker process on this node.

        The driver's, if all of it is here. Else the node's own, without what Ray has added (its
        own folders, and the driver's working folder), then what there is of the driver's.
        """
        there = [entry for entry in self.path if Path(entry).exists()]
        if len(there) == len(self.path):
            return there
        import ray

        added = {str(Path(entry)) for entry in (self.folder, Path.cwd())} - set(self.path)
        ours = [
            entry for entry in sys.path
            if entry not in added and not Path(entry).is_relative_to(Path(ray.__file__).parent)
        ]  # fmt: skip
        return list(dict.fromkeys([*ours, *there]))


class Node:
    """What an actor does."""

    def __init__(self, home: DriverPaths, threads: int) -> None:
        """Starts a worker process: it loads libraries while the driver reads the data."""
        with contextlib.suppress(OSError):
            os.chdir(home.folder)
        self._local = LocalExecutor(1, threads, path=home.path_on_node(), packed=True)
        (self._slot,) = self._local.slots

    def sees(self, file: Path, content: str) -> str:
        """Returns what is wrong with the folder that a run is to be written to; "" if nothing.

        Args:
            file: what the driver has just written there.
            content: what it holds.
        """
        until = time.monotonic() + _SEE_SECONDS  # a network's file system may take its time
        while (wrong := _unseen(file, content)) and time.monotonic() < until:
            time.sleep(0.1)
        return wrong

    def begin(self, setup: Packed) -> Packed:
        """Says what all tasks share, and returns how the worker answers a `FactsTask`.

        Data that the user's code makes are made first; what is wrong with them is the answer then.
        """
        self._local.prepare(setup)
        for name in setup.makes:
            made = _packed(self._local.do(DataTask(data=name)))
            self._local.stop(self._slot)
            if not isinstance(made.value(), MadeData):
                return made
            self._local.share(made)
        return _packed(self._local.do(FactsTask()))

    def submit(self, task: Packed) -> None:
        """Lets the worker do a task."""
        self._local.submit(self._slot, task)

    def poll(self) -> tuple[list[Packed], bytes]:
        """Returns messages, waiting a moment for the first, and after the last what was printed."""
        heard = [_packed(one.message) for one in self._local.poll(_POLL_SECONDS)]
        while heard and not heard[-1].final:
            more = self._local.poll(0.0)
            if not more:
                break
            heard += [_packed(one.message) for one in more]
        printed = self._local.output(self._slot) if heard and heard[-1].final else b""
        return heard, printed

    def trace(self) -> str:
        """Returns the end of what was printed, and where the code is."""
        return self._local.where(self._slot)

    def exchange(self) -> None:
        """Ends the worker process: the next task gets a new one."""
        self._local.stop(self._slot)


def difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Returns the first fact in which a node differs from the driver, as a phrase; "" if none."""
    for name in dict.fromkeys([*expected, *found]):
        here, there = expected.get(name, "absent"), found.get(name, "absent")
        if here != there:
            return f"{name} is {there} there and {here} here"
    return ""


def _packed(message: Any) -> Packed:
    # A message of the local executor itself, not of its process, is always the end of a task.
    return pack(message, final=True)


def _unseen(file: Path, content: str) -> str:
    folder, host = str(file.parent), platform.node()
    try:
        found = file.read_text(encoding="utf-8")
    except OSError as error:
        return f"node {host} does not see the folder {folder!r} of this run: {error.strerror}"
    if found != content:
        return f"node {host} sees another folder {folder!r} than the one of this run"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"node {host} can't write to the folder {folder!r} of this run"
    return ""
