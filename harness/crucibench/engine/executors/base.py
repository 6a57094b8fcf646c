"""What the engine asks of an executor: slots that do a task each, and what is heard from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from crucibench.engine.worker.tasks import Message, Setup, Task


@dataclass(frozen=True)
class SlotMessage:
    """One message of one slot."""

    slot: str
    message: Message


class Executor(ABC):
    """Slots; each does one task at a time.

    Attributes:
        name: how the events call it.
        isolated: whether each model has a process of its own: one that dies takes nothing else
            down, and what its code changes there reaches no other model.
        caching: whether what models answer may be kept for other runs: not where they share a
            process, and may have changed each other.
        slots: their names. At least one; where machines can be lost, those that there are now.
    """

    name: ClassVar[str]
    isolated: ClassVar[bool] = True
    caching: ClassVar[bool] = True
    slots: Sequence[str]

    @abstractmethod
    def prepare(self, setup: Setup) -> None:
        """Takes what all tasks share; called once, before the first."""

    @abstractmethod
    def submit(self, slot: str, task: Task) -> None:
        """Lets a free slot do a task; its last message is one of `tasks.FINAL`."""

    @abstractmethod
    def poll(self, seconds: float) -> Sequence[SlotMessage]:
        """Returns the messages of slots, waiting at most so long for the first."""

    aside: Callable[[Task], Message | None] | None = None
    """Has a process beside the slots do a task that no user's code has part in.

    It returns the last message, or None where the process died; threads may call it.
    """

    def where(self, slot: str) -> str:
        """Returns the end of what a busy slot has printed, and where its code is; "" if unknown."""
        return ""

    def replaced(self) -> Sequence[str]:
        """Returns what models have replaced by now of libraries in a process that they share."""
        return ()

    @abstractmethod
    def stop(self, slot: str) -> None:
        """Ends what a slot does, at once: it sends nothing more, and can be used again."""

    @abstractmethod
    def close(self) -> None:
        """Ends all slots."""

    def output(self, slot: str) -> bytes:
        """Returns what the slot's models have printed since it was asked last."""
        return b""
