"""The driver's side of one actor: a thread that talks with it, and what became of it."""

from __future__ import annotations

import contextlib
import queue
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crucibench.engine.executors.frames import Packed, pack
from crucibench.engine.executors.ray_node import difference
from crucibench.engine.worker.tasks import Facts, Failed, Gone, Task, home, keeps

_TRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Ready:
    """The actor has a place, a worker process, and sees and uses what the driver does."""


@dataclass(frozen=True)
class Refused:
    """The node can't take part: a sentence."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """The actor is no more: what Ray raised."""

    error: Exception


@dataclass(frozen=True)
class Entry:
    """What every actor is told first.

    Attributes:
        setup: what tasks share.
        facts: of the driver: a worker must have the same.
        folder: that holds, or will hold, the run's.
    """

    setup: Packed
    facts: Mapping[str, str]
    folder: Path


class Hand:
    """One actor.

    Attributes:
        slot: whose tasks it does.
        whole: whether it has a GPU of its own although others share theirs.
        ready: whether it can do tasks.
        busy: whether it has one.
        node: Ray's name of the node that it is on, once it is on one.
        host: the node's own.
    """

    def __init__(
        self, ray: Any, actor: Any, slot: str, tell: Callable[[Hand, Any], None], *, whole: bool
    ) -> None:
        """Takes an actor that has been asked for; `tell` takes news of it, in another thread."""
        self.slot = slot
        self.whole = whole
        self.ready = self.busy = False
        self.node = self.host = ""
        self._ray = ray
        self._actor = actor
        self._tell = tell
        self._tasks: queue.SimpleQueue[Packed | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._printed = b""

    def begin(self, entry: Entry) -> None:
        """Lets the actor begin as soon as it has a place; it is told when it is ready."""
        self._thread = threading.Thread(target=self._talk, args=(entry,), daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Gives it a task, once it is ready."""
        self.busy = True
        self._tasks.put(replace(pack(task), home=home(task), keeps=keeps(task)))

    def printed(self) -> bytes:
        """Returns what was printed since the last time."""
        printed, self._printed = self._printed, b""
        return printed

    def trace(self) -> str:
        """Returns the end of what was printed, and where the code is; "" if the actor is silent."""
        try:
            answer = self._actor.call.remote("trace")
            return str(self._ray.get(answer, timeout=_TRACE_SECONDS))
        except Exception:
            return ""

    def exchange(self) -> None:
        """Gives an idle actor a new worker process."""
        self._actor.call.remote("exchange")

    def kill(self) -> None:
        """Ends the actor, or the wish for it."""
        self._tasks.put(None)
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor)

    def join(self, seconds: float) -> None:
        """Waits until nobody talks with the actor any more."""
        if self._thread is not None:
            self._thread.join(seconds)

    def gone(self, error: Exception, alive: Callable[[str], bool]) -> Gone:
        """Returns what a task's worker is told to have died of.

        The worker process is not meant: what it dies of, the actor tells. An actor that is gone or
        out of reach is nobody's fault if its node is, or if Ray took it away.
        """
        kinds = self._ray.exceptions
        away = isinstance(error, kinds.ActorUnavailableError | kinds.NodeDiedError)
        if away or getattr(error, "preempted", False) or not self.node or not alive(self.node):
            return Gone(f"the node {self.host or '(not known yet)'} is gone", str(error), lost=True)
        if "memory" in str(error).partition("Some common causes")[0].lower():
            reason = f"Ray ended the worker: node {self.host} ran out of memory"
        else:
            reason = f"the worker's actor on node {self.host} was killed in the middle of it"
        return Gone(reason, str(error))

    # -- in the thread -----------------------------------------------------------------------

    def _talk(self, entry: Entry) -> None:
        try:
            wrong = self._enter(entry)
            if wrong:
                self._tell(self, Refused(wrong))
                return
            self._tell(self, Ready())
            while (task := self._tasks.get()) is not None:
                self._actor.call.remote("submit", task)
                final = False
                while not final:
                    messages, printed = self._ray.get(self._actor.call.remote("hear"))
                    self._printed += printed
                    for message in messages:
                        self._tell(self, message.value())
                    final = bool(messages) and messages[-1].final
        except Exception as error:
            self._tell(self, Ended(error))

    def _enter(self, entry: Entry) -> str:
        """Returns what is wrong with the node, as a sentence; "" if nothing."""
        self.host, self.node, wrong = self._ray.get(self._actor.place.remote())
        if wrong:
            return f"node {self.host} can't import crucibench: {wrong}"
        with _probe(entry.folder) as probe:
            wrong = self._ray.get(self._actor.call.remote("sees", *probe))
        if wrong:
            return f"{wrong}; all nodes of the cluster must share it, and see the data"
        answer = self._ray.get(self._actor.call.remote("begin", entry.setup)).value()
        if isinstance(answer, Failed | Gone):
            return f"node {self.host}: no worker starts there: {answer.reason}"
        if not isinstance(answer, Facts):
            raise TypeError(f"a FactsTask ended with {type(answer).__name__}")
        differs = difference(entry.facts, answer.values)
        if differs:
            return f"node {self.host}: {differs}; all nodes of a run must have the same"
        return ""


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yields a file in `folder`, or the nearest folder above that exists, and what it holds."""
    while not folder.is_dir():
        folder = folder.parent
    content = secrets.token_hex(16)
    file = folder / f".crucibench-{content[:8]}.tmp"
    file.write_text(content, encoding="utf-8")
    try:
        yield file, content
    finally:
        file.unlink(missing_ok=True)
