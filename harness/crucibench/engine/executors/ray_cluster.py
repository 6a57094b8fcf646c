"""Tasks done on the nodes of a Ray cluster, by one actor a slot.

What is passed is small: the spec, tasks, paths, digests. Models and data are opened on the nodes,
and records are written there into the run's folder: all nodes must see both. An actor takes part
once it has shown that it sees the folder and has the same versions as the driver.

While a cohort is timed, no other task of this run is under way, on any node; the worker has whole
GPUs, even where other tasks share them; and it holds its machine's lease, so that no other run of
the same user times there. Others may still use the node: Ray hands out processors and GPUs by count
and keeps no other program, and no job of another Ray cluster, off them; and workers in containers
of one machine don't see each other's leases.

A node that is cut off goes on for a while: it may write a shard again that another has written. The
bytes are the same, except of timed cells, whose records then don't match their digests: `verify`
tells.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import queue
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from crucibench.engine.executors.base import Executor, SlotMessage
from crucibench.engine.executors.child import Packed, pack
from crucibench.engine.executors.ray_node import DriverPaths, difference
from crucibench.engine.worker.environment import worker_facts
from crucibench.engine.worker.tasks import (
    FINAL,
    Failed,
    Gone,
    Setup,
    Task,
    TimedTask,
    Waiting,
    WorkerFacts,
    holds_state,
    owner_of,
)
from crucibench.util.errors import InputError, StoppedError
from crucibench.util.optional import need
from crucibench.util.user_errors import one_line

_PLACE_SECONDS = 60.0
"""For how long workers are waited for that no node has room for, where there are no others."""
_SPARE_SECONDS = 10.0
"""For how long a task waits for its actor where other actors could do it."""
_NOTE_SECONDS = 15.0
_END_SECONDS = 5.0
_STARTS_AT_MOST = 5


def actor_class() -> type:
    """Returns the class of the actors.

    A class that is made in a function is sent whole, so that a node that can't import Crucibench
    can still say so.
    """

    class NodeActor:
        def __init__(self, path: Sequence[str], folder: str, threads: int) -> None:
            import platform
            import sys
            from pathlib import Path

            self._host = platform.node()
            self._node: Any = None
            self._trouble = ""
            known = set(sys.path)
            sys.path += [entry for entry in path if entry not in known and Path(entry).exists()]
            try:
                from crucibench.engine.executors import ray_node

                self._node = ray_node.Node(ray_node.DriverPaths(tuple(path), folder), threads)
            except Exception as error:
                self._trouble = f"{type(error).__name__}: {error}"

        def place(self) -> tuple[str, str, str]:
            """Returns the node's name, Ray's id of it, and what is wrong."""
            import ray

            return self._host, ray.get_runtime_context().get_node_id(), self._trouble

        def call(self, name: str, *arguments: Any) -> Any:
            return getattr(self._node, name)(*arguments)

    return NodeActor


class RayExecutor(Executor):
    """Runs tasks on actors on the nodes of a cluster, and replaces lost actors where there is room.

    A slot whose node was lost is left out of `slots` until its new actor is ready.
    """

    name: ClassVar[str] = "ray"

    def __init__(
        self, workers: int | None, threads: int, address: str | None, *,
        gpus: float | None = None, cuda: bool = False,
    ) -> None:  # fmt: skip
        """Connects and asks for actors: they start while the engine reads the data.

        Args:
            workers: how many; None for as many as there is room for.
            threads: of numerical libraries, in each; as many CPUs are reserved.
            address: of the cluster, e.g. ``auto``; None for RAY_ADDRESS, or a cluster of our own.
            gpus: that each reserves, a share of one or a whole number; None for 1.
            cuda: whether models run on GPUs: else none are reserved.

        Raises:
            InputError: if Ray is absent, the cluster can't be reached, or has no such room.
        """
        self._gpus = checked_gpus(gpus) if cuda else 0.0
        self._threads = threads
        self._news: queue.SimpleQueue[tuple[ActorHandle, Any]] = queue.SimpleQueue()
        self._handles: dict[str, ActorHandle] = {}
        self._held: dict[str, tuple[Task, float]] = {}
        self._printed: dict[str, bytes] = {}
        self._node_setup: NodeSetup | None = None
        self._starts = 0
        self._noted = time.monotonic()
        self._class, self._paths = actor_class(), DriverPaths.here()
        self._connection = RayConnection(
            address, max(os.cpu_count() or 1, threads * (workers or 1))
        )
        try:
            count = self._count(workers)
            self._all = tuple(f"ray-{number + 1}" for number in range(count))
            self.slots: Sequence[str] = self._all
            self._start_missing()
        except BaseException:
            self.close()
            raise

    def prepare(self, setup: Setup) -> None:
        """Takes what all tasks share, and waits until every actor is ready.

        Raises:
            InputError: if a node can't take part, or an actor gets no place on one.
        """
        packed = replace(pack(setup), memory=setup.memory, makes=setup.makes)
        self._node_setup = NodeSetup(packed, worker_facts(setup.device), setup.root.parent)
        for handle in self._handles.values():
            handle.begin(self._node_setup)
        until = time.monotonic() + _PLACE_SECONDS
        while not all(handle.ready for handle in self._handles.values()):
            placed = sum(bool(handle.node) for handle in self._handles.values())
            if placed < len(self._handles) and time.monotonic() > until:
                raise InputError(
                    f"workers={len(self._handles)}: the Ray cluster found a place for {placed} in "
                    f"{_PLACE_SECONDS:g} s: the rest of it is in use; ask for fewer"
                )
            with contextlib.suppress(queue.Empty):
                handle, news = self._news.get(timeout=1.0)
                if isinstance(news, Refused):
                    raise InputError(news.reason)
                if isinstance(news, Ended):
                    raise InputError(handle.gone(news.error, self._alive).reason)
                handle.ready = True

    def submit(self, slot: str, task: Task) -> None:
        # A share of a GPU will do for all but timing: while a cohort is timed, all other actors are
        # ended, so that nothing of this run shares its GPU.
        whole = isinstance(task, TimedTask) and 0 < self._gpus < 1
        for other, handle in list(self._handles.items()):
            if handle.whole != whole:
                self._end_actor(other)
        if whole and slot not in self._handles:
            self._start_actor(slot, whole=True)
        elif not whole:
            self._start_missing()
        if self._handles[slot].ready:
            self._handles[slot].submit(task)
        else:
            self._held[slot] = task, time.monotonic()

    def poll(self, seconds: float) -> Sequence[SlotMessage]:
        """Returns the messages of slots.

        Raises:
            StoppedError: if no node has room for a worker for a minute, or none can take part.
        """
        messages: list[SlotMessage] = []
        with contextlib.suppress(queue.Empty):
            messages += self._take(*self._news.get(timeout=seconds))
            while True:
                messages += self._take(*self._news.get_nowait())
        return messages or self._check_held()

    def where(self, slot: str) -> str:
        handle = self._handles.get(slot)
        return handle.trace() if handle is not None and handle.busy else ""

    def stop(self, slot: str) -> None:
        self._held.pop(slot, None)
        handle = self._handles.get(slot)
        if handle is not None and handle.ready and not handle.busy:
            handle.exchange()
        elif handle is not None:
            self._end_actor(slot)
            self._start_actor(slot)

    def close(self) -> None:
        handles, self._handles = list(self._handles.values()), {}
        for handle in handles:
            handle.kill()
        for handle in handles:
            handle.join(_END_SECONDS)
        self._connection.close()

    def output(self, slot: str) -> bytes:
        handle = self._handles.get(slot)
        return self._printed.pop(slot, b"") + (b"" if handle is None else handle.printed())

    # -- actors ------------------------------------------------------------------------------

    def _count(self, workers: int | None) -> int:
        nodes = self._connection.nodes()
        found = room(nodes, self._threads, self._gpus)
        if found >= (workers or 1):
            return workers or found
        if self._gpus and not most(nodes, "GPU"):
            raise InputError("device: no node of the Ray cluster has a GPU; say cpu")
        if most(nodes, "CPU") < self._threads:
            raise InputError(
                f"threads: expected at most {most(nodes, 'CPU'):g}, the CPUs of the largest node "
                f"of the Ray cluster, got {self._threads}"
            )
        each = f"{self._threads} CPUs" + (f" and {self._gpus:g} GPUs" if self._gpus else "")
        raise InputError(
            f"workers: the Ray cluster has room for {found} of {each} each, got {workers}"
        )

    def _start_missing(self) -> None:
        for slot in self._all:
            if slot not in self._handles:
                self._start_actor(slot)

    def _start_actor(self, slot: str, *, whole: bool = False) -> None:
        ray = self._connection.ray
        actor = ray.remote(
            num_cpus=self._threads, num_gpus=1.0 if whole else self._gpus, max_restarts=0,
            max_task_retries=0, scheduling_strategy="SPREAD",
        )(self._class).remote(self._paths.path, self._paths.folder, self._threads)  # fmt: skip
        handle = ActorHandle(ray, actor, slot, lambda *news: self._news.put(news), whole=whole)
        self._handles[slot] = handle
        if self._node_setup is not None:
            handle.begin(self._node_setup)

    def _end_actor(self, slot: str) -> None:
        handle = self._handles.pop(slot)
        self._printed[slot] = self._printed.pop(slot, b"") + handle.printed()
        handle.kill()

    def _alive(self, node: str) -> bool:
        return any(entry["NodeID"] == node for entry in self._connection.nodes())

    def _offer(self, slot: str, *, offered: bool = True) -> None:
        """Adds a slot to `slots` or removes it; one always stays, and its task waits."""
        slots = [one for one in self._all if (offered if one == slot else one in self.slots)]
        self.slots = tuple(slots or self._all[:1])

    # -- news --------------------------------------------------------------------------------

    def _take(self, handle: ActorHandle, news: Any) -> list[SlotMessage]:
        if self._handles.get(handle.slot) is not handle:
            return []  # one that was stopped
        match news:
            case Ready():
                self._became_ready(handle)
                return []
            case Refused():
                return self._refused(handle, news.reason)
            case Ended():
                return self._ended(handle, news.error)
        if isinstance(news, FINAL):
            handle.busy = False
        return [SlotMessage(handle.slot, news)]

    def _became_ready(self, handle: ActorHandle) -> None:
        handle.ready, self._starts = True, 0
        held = next(iter(self._held), handle.slot)
        if handle.slot not in self._held and held != handle.slot:
            # Another actor waits for a place and has a task: this one takes its slot and does it.
            other, slot = self._handles[held], handle.slot
            handle.slot, other.slot = held, slot
            self._handles |= {held: handle, slot: other}
            self._offer(slot, offered=False)
        self._offer(handle.slot)
        if handle.slot in self._held:
            handle.submit(self._held.pop(handle.slot)[0])

    def _ended(self, handle: ActorHandle, error: Exception) -> list[SlotMessage]:
        gone = handle.gone(error, self._alive)
        self._starts += not handle.ready
        if self._starts > _STARTS_AT_MOST:
            raise StoppedError(f"no worker stays up on the Ray cluster: {gone.reason}")
        self._end_actor(handle.slot)
        self._start_actor(handle.slot)
        if gone.lost:
            self._offer(handle.slot, offered=False)
        return [SlotMessage(handle.slot, gone)] if handle.busy else []

    def _refused(self, handle: ActorHandle, reason: str) -> list[SlotMessage]:
        """A node that came later can't take part: the run goes on without."""
        self._end_actor(handle.slot)
        self._all = tuple(slot for slot in self._all if slot != handle.slot)
        if not self._all:
            raise StoppedError(f"{reason}; the same command goes on from here")
        self._offer(handle.slot, offered=False)
        busy = [slot for slot, other in self._handles.items() if other.busy]
        notes = [SlotMessage(slot, Waiting(f"{reason}: it is left out")) for slot in busy[:1]]
        return notes + self._return_held(handle.slot, reason)

    # -- tasks whose actor has no place yet ----------------------------------------------------

    def _check_held(self) -> list[SlotMessage]:
        now = time.monotonic()
        others = any(handle.ready for handle in self._handles.values())
        for slot, (_, since) in list(self._held.items()):
            if self._handles[slot].node:
                continue  # it has a place, and is about to begin
            if others and now - since > _SPARE_SECONDS:
                self._offer(slot, offered=False)
                return self._return_held(slot, "the Ray cluster has no room for the worker now")
            if not others and now - since > _PLACE_SECONDS:
                raise StoppedError(
                    f"for {_PLACE_SECONDS:g} s the Ray cluster has had no room for a worker of "
                    f"{self._threads} CPUs; the same command goes on from here"
                )
        if self._held and now - self._noted > _NOTE_SECONDS:
            self._noted = now
            slot = next(iter(self._held))
            return [SlotMessage(slot, Waiting("waiting for a place on the Ray cluster"))]
        return []

    def _return_held(self, slot: str, reason: str) -> list[SlotMessage]:
        lost = Gone(reason, lost=True)
        return [SlotMessage(slot, lost)] if self._held.pop(slot, None) is not None else []


def checked_gpus(gpus: float | None) -> float:
    """Returns how many GPUs a worker reserves.

    Raises:
        InputError: if that is neither a share of one nor a whole number.
    """
    if gpus is None:
        return 1.0
    if not gpus > 0 or (gpus > 1 and gpus != int(gpus)):
        raise InputError(f"ray_gpus: expected a share of 1, or a whole number, got {gpus:g}")
    return float(gpus)


_TRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Ready:
    """News: the actor has a place and a worker process, with the driver's folder and versions."""


@dataclass(frozen=True)
class Refused:
    """News: the node can't take part, and why, in a sentence."""

    reason: str


@dataclass(frozen=True)
class Ended:
    """News: the actor has ended, and what Ray raised."""

    error: Exception


@dataclass(frozen=True)
class NodeSetup:
    """What an actor is sent first.

    Attributes:
        setup: what tasks share.
        facts: of the driver: a worker must have the same.
        folder: that holds, or will hold, the run's.
    """

    setup: Packed
    facts: Mapping[str, str]
    folder: Path


class ActorHandle:
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
        self,
        ray: Any,
        actor: Any,
        slot: str,
        notify: Callable[[ActorHandle, Any], None],
        *,
        whole: bool,
    ) -> None:
        """Takes an actor that was requested; `notify` is called with news of it, in a thread."""
        self.slot = slot
        self.whole = whole
        self.ready = self.busy = False
        self.node = self.host = ""
        self._ray = ray
        self._actor = actor
        self._notify = notify
        self._tasks: queue.SimpleQueue[Packed | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._printed = b""

    def begin(self, entry: NodeSetup) -> None:
        """Lets the actor begin as soon as it has a place; `notify` hears `Ready` then."""
        self._thread = threading.Thread(target=self._talk, args=(entry,), daemon=True)
        self._thread.start()

    def submit(self, task: Task) -> None:
        """Gives it a task, once it is ready."""
        self.busy = True
        self._tasks.put(replace(pack(task), owner=owner_of(task), holds_state=holds_state(task)))

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
        """Ends the actor, or the request for it."""
        self._tasks.put(None)
        with contextlib.suppress(Exception):
            self._ray.kill(self._actor)

    def join(self, seconds: float) -> None:
        """Waits until the thread that talks with the actor has ended."""
        if self._thread is not None:
            self._thread.join(seconds)

    def gone(self, error: Exception, alive: Callable[[str], bool]) -> Gone:
        """Returns what ended the actor, as the end of its task.

        What ends the worker process below it is not meant: the actor reports that. An actor that
        is gone or out of reach counts as lost, and its task as blameless, if its node is gone too,
        or if Ray took it away.
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

    def _talk(self, entry: NodeSetup) -> None:
        try:
            wrong = self._enter(entry)
            if wrong:
                self._notify(self, Refused(wrong))
                return
            self._notify(self, Ready())
            while (task := self._tasks.get()) is not None:
                self._actor.call.remote("submit", task)
                final = False
                while not final:
                    messages, printed = self._ray.get(self._actor.call.remote("poll"))
                    self._printed += printed
                    for message in messages:
                        self._notify(self, message.value())
                    final = bool(messages) and messages[-1].final
        except Exception as error:
            self._notify(self, Ended(error))

    def _enter(self, entry: NodeSetup) -> str:
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
        if not isinstance(answer, WorkerFacts):
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


_OWN = "local"
_STORE_BYTES = 100 * 2**20
_CONNECT_SECONDS = 10.0
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class RayConnection:
    """A connection; `close` undoes what was done for it.

    Attributes:
        ray: the module.
    """

    def __init__(self, address: str | None, cpus: int) -> None:
        """Connects to a cluster, or starts one; does neither if the program has done so already.

        Args:
            address: ``HOST:PORT``, ``auto``, or None for what the environment variable RAY_ADDRESS
                says; without it, a cluster is started on this machine.
            cpus: that such a cluster has.

        Raises:
            InputError: if Ray is absent, or no cluster is at `address`.
        """
        # Before the import, which reads it: Ray reports on its use unless told not to.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.ray: Any = need("ray", "ray")
        self._folder: str | None = None
        self._handler: Any = None
        self._ours = not self.ray.is_initialized()
        if not self._ours:
            return
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.getsignal(signal.SIGTERM)  # which Ray takes over for good
        self._let_print(False)
        address = address or os.environ.get("RAY_ADDRESS") or _OWN
        try:
            with _quiet():
                self._start(cpus) if address == _OWN else self._connect(address)
        except BaseException:
            self.close()
            raise
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def nodes(self) -> list[Mapping[str, Any]]:
        """Returns the nodes that are alive."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """Disconnects, and ends the cluster that was started."""
        if not self._ours:
            return
        self._ours = False
        waits = "wait_for_processes" in inspect.signature(self.ray.shutdown).parameters
        self.ray.shutdown(**({"wait_for_processes": True} if waits else {}))
        self._let_print(True)
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _let_print(self, whether: bool) -> None:
        # A driver prints what happens to nodes on its standard output, where our data goes, and
        # Ray has no setting for that.
        worker: Any = getattr(getattr(self.ray, "_private", None), "worker", None)
        if hasattr(worker, "_worker_logs_enabled"):
            worker._worker_logs_enabled = whether

    def _start(self, cpus: int) -> None:
        # Ray listens on all interfaces: nobody else may give it work. Without a token in the
        # environment or at home it would write one there.
        known = (Path.home() / ".ray" / "auth_token").exists()
        if not known and not any(os.environ.get(name) for name in _TOKENS):
            os.environ[_TOKENS[0]] = secrets.token_hex(32)
        # The paths of its sockets must be short. Its logs are of no use once it has ended.
        parent = os.environ.get("RAY_TMPDIR") or ("/tmp" if Path("/tmp").is_dir() else None)
        self._folder = tempfile.mkdtemp(prefix="cb-ray-", dir=parent)
        self.ray.init(
            address=_OWN, num_cpus=cpus, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=_STORE_BYTES, _temp_dir=self._folder,
        )  # fmt: skip

    def _connect(self, address: str) -> None:
        where = f"ray_address={address!r}"
        if "://" in address:
            raise InputError(
                f"{where}: expected HOST:PORT or auto: a run is started on a machine of the "
                "cluster, not through Ray Client"
            )
        if address != "auto":
            _check_reachable(address, where)
        try:
            self.ray.init(address=address, log_to_driver=False, configure_logging=False)
        except ConnectionError as error:
            raise InputError(f"{where}: no Ray cluster runs there") from error
        except Exception as error:
            raise InputError(f"{where}: {one_line(error)}") from error


def room(nodes: Sequence[Mapping[str, Any]], threads: int, gpus: float) -> int:
    """Returns how many workers fit on `nodes`."""
    total = 0
    for node in nodes:
        resources = node.get("Resources", {})
        workers = int(resources.get("CPU", 0.0)) // threads
        if gpus:  # the small addend makes up for shares such as 1/3
            workers = min(workers, int(resources.get("GPU", 0.0) / gpus + 1e-6))
        total += workers
    return total


def most(nodes: Sequence[Mapping[str, Any]], resource: str) -> float:
    """Returns the most of a resource that one node has."""
    return max((float(node.get("Resources", {}).get(resource, 0.0)) for node in nodes), default=0.0)


def _check_reachable(address: str, where: str) -> None:
    # Ray tries for many minutes.
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"{where}: expected HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"{where}: no Ray cluster answers there: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Ray from logging what it has set up."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
