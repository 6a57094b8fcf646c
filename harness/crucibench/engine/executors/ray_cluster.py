"""Tasks done on the nodes of a Ray cluster, by one actor a slot.

What is passed is small: the spec, tasks, paths, digests. Models and data are opened on the nodes,
and records are written there into the run's folder: all nodes must see both. An actor takes part
once it has shown that it sees the folder and has the same versions as the driver.

What is guaranteed while a cohort is timed: no other task of this run is under way, on any node; the
worker has whole GPUs, even where other tasks share them; and it holds its machine's lease, so that
no other run of the same user times there. Not guaranteed: that nobody else uses the node. Ray gives
away processors and GPUs by count: it keeps no other program, and no job of another Ray cluster, off
them; and workers in containers of one machine don't see each other's leases.

A node that is cut off goes on for a while: it may write a shard again that another has written. The
bytes are the same, except of timed cells, whose records then don't match their digests: `verify`
tells.
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from crucibench.engine.executors.base import Executor, Heard
from crucibench.engine.executors.frames import pack
from crucibench.engine.executors.ray_actor import actor_class
from crucibench.engine.executors.ray_hand import Ended, Entry, Hand, Ready, Refused
from crucibench.engine.executors.ray_link import Link, most, room
from crucibench.engine.executors.ray_node import Home
from crucibench.engine.worker.environment import worker_facts
from crucibench.engine.worker.tasks import FINAL, Gone, Setup, Task, TimedTask, Waiting
from crucibench.util.errors import InputError, StoppedError

_PLACE_SECONDS = 60.0
"""For how long workers are waited for that no node has room for, where there are no others."""
_SPARE_SECONDS = 10.0
_TELL_SECONDS = 15.0
_END_SECONDS = 5.0
_STARTS_AT_MOST = 5


class RayExecutor(Executor):
    """Actors on the nodes of a cluster: lost ones are replaced wherever there is room.

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
        self._news: queue.SimpleQueue[tuple[Hand, Any]] = queue.SimpleQueue()
        self._hands: dict[str, Hand] = {}
        self._held: dict[str, tuple[Task, float]] = {}
        self._printed: dict[str, bytes] = {}
        self._entry: Entry | None = None
        self._starts = 0
        self._told = time.monotonic()
        self._class, self._home = actor_class(), Home.here()
        self._link = Link(address, max(os.cpu_count() or 1, threads * (workers or 1)))
        try:
            count = self._count(workers)
            self._all = tuple(f"ray-{number + 1}" for number in range(count))
            self.slots: Sequence[str] = self._all
            self._hire_all()
        except BaseException:
            self.close()
            raise

    def prepare(self, setup: Setup) -> None:
        """Says what all tasks share, and waits until every actor is ready.

        Raises:
            InputError: if a node can't take part, or an actor gets no place on one.
        """
        packed = replace(pack(setup), memory=setup.memory, makes=setup.makes)
        self._entry = Entry(packed, worker_facts(setup.device), setup.root.parent)
        for hand in self._hands.values():
            hand.begin(self._entry)
        until = time.monotonic() + _PLACE_SECONDS
        while not all(hand.ready for hand in self._hands.values()):
            placed = sum(bool(hand.node) for hand in self._hands.values())
            if placed < len(self._hands) and time.monotonic() > until:
                raise InputError(
                    f"workers={len(self._hands)}: the Ray cluster found a place for {placed} in "
                    f"{_PLACE_SECONDS:g} s: the rest of it is in use; ask for fewer"
                )
            with contextlib.suppress(queue.Empty):
                hand, news = self._news.get(timeout=1.0)
                if isinstance(news, Refused):
                    raise InputError(news.reason)
                if isinstance(news, Ended):
                    raise InputError(hand.gone(news.error, self._alive).reason)
                hand.ready = True

    def submit(self, slot: str, task: Task) -> None:
        # A share of a GPU will do for all but clocks.
        whole = isinstance(task, TimedTask) and 0 < self._gpus < 1
        for other, hand in list(self._hands.items()):
            if hand.whole != whole:
                self._dismiss(other)
        if whole and slot not in self._hands:
            self._hire(slot, whole=True)
        elif not whole:
            self._hire_all()
        if self._hands[slot].ready:
            self._hands[slot].submit(task)
        else:
            self._held[slot] = task, time.monotonic()

    def hear(self, seconds: float) -> Sequence[Heard]:
        """Returns what slots have said.

        Raises:
            StoppedError: if no node has room for a worker for a minute, or none can take part.
        """
        heard: list[Heard] = []
        with contextlib.suppress(queue.Empty):
            heard += self._take(*self._news.get(timeout=seconds))
            while True:
                heard += self._take(*self._news.get_nowait())
        return heard or self._still_held()

    def where(self, slot: str) -> str:
        hand = self._hands.get(slot)
        return hand.trace() if hand is not None and hand.busy else ""

    def stop(self, slot: str) -> None:
        self._held.pop(slot, None)
        hand = self._hands.get(slot)
        if hand is not None and hand.ready and not hand.busy:
            hand.exchange()
        elif hand is not None:
            self._dismiss(slot)
            self._hire(slot)

    def close(self) -> None:
        hands, self._hands = list(self._hands.values()), {}
        for hand in hands:
            hand.kill()
        for hand in hands:
            hand.join(_END_SECONDS)
        self._link.close()

    def output(self, slot: str) -> bytes:
        hand = self._hands.get(slot)
        return self._printed.pop(slot, b"") + (b"" if hand is None else hand.printed())

    # -- actors ------------------------------------------------------------------------------

    def _count(self, workers: int | None) -> int:
        nodes = self._link.nodes()
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

    def _hire_all(self) -> None:
        for slot in self._all:
            if slot not in self._hands:
                self._hire(slot)

    def _hire(self, slot: str, *, whole: bool = False) -> None:
        ray = self._link.ray
        actor = ray.remote(
            num_cpus=self._threads, num_gpus=1.0 if whole else self._gpus, max_restarts=0,
            max_task_retries=0, scheduling_strategy="SPREAD",
        )(self._class).remote(self._home.path, self._home.folder, self._threads)  # fmt: skip
        hand = Hand(ray, actor, slot, lambda *news: self._news.put(news), whole=whole)
        self._hands[slot] = hand
        if self._entry is not None:
            hand.begin(self._entry)

    def _dismiss(self, slot: str) -> None:
        hand = self._hands.pop(slot)
        self._printed[slot] = self._printed.pop(slot, b"") + hand.printed()
        hand.kill()

    def _alive(self, node: str) -> bool:
        return any(entry["NodeID"] == node for entry in self._link.nodes())

    def _offer(self, slot: str, *, offered: bool = True) -> None:
        """Lets a slot be used, or not: one always is, and keeps its task until it is ready."""
        slots = [one for one in self._all if (offered if one == slot else one in self.slots)]
        self.slots = tuple(slots or self._all[:1])

    # -- news --------------------------------------------------------------------------------

    def _take(self, hand: Hand, news: Any) -> list[Heard]:
        if self._hands.get(hand.slot) is not hand:
            return []  # one that was stopped
        match news:
            case Ready():
                self._begins(hand)
                return []
            case Refused():
                return self._refused(hand, news.reason)
            case Ended():
                return self._ended(hand, news.error)
        if isinstance(news, FINAL):
            hand.busy = False
        return [Heard(hand.slot, news)]

    def _begins(self, hand: Hand) -> None:
        hand.ready, self._starts = True, 0
        held = next(iter(self._held), hand.slot)
        if hand.slot not in self._held and held != hand.slot:
            # Whichever actor has found a place does what is to be done.
            other, slot = self._hands[held], hand.slot
            hand.slot, other.slot = held, slot
            self._hands |= {held: hand, slot: other}
            self._offer(slot, offered=False)
        self._offer(hand.slot)
        if hand.slot in self._held:
            hand.submit(self._held.pop(hand.slot)[0])

    def _ended(self, hand: Hand, error: Exception) -> list[Heard]:
        gone = hand.gone(error, self._alive)
        self._starts += not hand.ready
        if self._starts > _STARTS_AT_MOST:
            raise StoppedError(f"no worker stays up on the Ray cluster: {gone.reason}")
        self._dismiss(hand.slot)
        self._hire(hand.slot)
        if gone.lost:
            self._offer(hand.slot, offered=False)
        return [Heard(hand.slot, gone)] if hand.busy else []

    def _refused(self, hand: Hand, reason: str) -> list[Heard]:
        """A node that came later can't take part: the run goes on without."""
        self._dismiss(hand.slot)
        self._all = tuple(slot for slot in self._all if slot != hand.slot)
        if not self._all:
            raise StoppedError(f"{reason}; the same command goes on from here")
        self._offer(hand.slot, offered=False)
        busy = [slot for slot, other in self._hands.items() if other.busy]
        told = [Heard(slot, Waiting(f"{reason}: it is left out")) for slot in busy[:1]]
        return told + self._give_back(hand.slot, reason)

    # -- tasks whose actor has no place yet ----------------------------------------------------

    def _still_held(self) -> list[Heard]:
        now = time.monotonic()
        others = any(hand.ready for hand in self._hands.values())
        for slot, (_, since) in list(self._held.items()):
            if self._hands[slot].node:
                continue  # it has a place, and is about to begin
            if others and now - since > _SPARE_SECONDS:
                self._offer(slot, offered=False)
                return self._give_back(slot, "the Ray cluster has no room for the worker now")
            if not others and now - since > _PLACE_SECONDS:
                raise StoppedError(
                    f"for {_PLACE_SECONDS:g} s the Ray cluster has had no room for a worker of "
                    f"{self._threads} CPUs; the same command goes on from here"
                )
        if self._held and now - self._told > _TELL_SECONDS:
            self._told = now
            slot = next(iter(self._held))
            return [Heard(slot, Waiting("waiting for a place on the Ray cluster"))]
        return []

    def _give_back(self, slot: str, reason: str) -> list[Heard]:
        lost = Gone(reason, lost=True)
        return [Heard(slot, lost)] if self._held.pop(slot, None) is not None else []


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
