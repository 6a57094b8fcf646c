"""The process of a local worker: the format of its messages, and its main loop.

A message is a length and a pickle; both ends of the pipe are this program. What models print
goes to the log: the standard streams are put out of their reach first.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import pickle
import queue
import signal
import struct
import sys
import threading
from dataclasses import dataclass
from typing import Any, BinaryIO

from crucibench.util.memory import die_first, limit_memory
from crucibench.util.processes import die_with, private_streams

_HEAD = struct.Struct("<Q?")


@dataclass(frozen=True)
class Packed:
    """An object that stays pickled: a process that passes it on need not import its classes.

    Attributes:
        content: the pickle.
        final: of a message, whether it ends its task.
        memory: of a setup, the limit it holds.
        makes: of a setup, the data sets that the user's own code makes.
        owner: of a task, whose process does it (`tasks.owner_of`).
        holds_state: of a task, whether it leaves something in its process (`tasks.holds_state`).
    """

    content: bytes
    final: bool = False
    memory: int | None = None
    makes: tuple[str, ...] = ()
    owner: str = ""
    holds_state: bool | None = None

    def value(self) -> Any:
        """Returns the object."""
        return pickle.loads(self.content)


def pack(value: Any, *, final: bool = False) -> Packed:
    """Pickles an object, unless it is pickled already."""
    if isinstance(value, Packed):
        return value
    content = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return Packed(content, final)


def send(stream: BinaryIO, message: Any, *, final: bool = False) -> None:
    """Writes one object.

    Raises:
        OSError: if nobody reads any more.
    """
    packed = pack(message, final=final)
    stream.write(_HEAD.pack(len(packed.content), packed.final) + packed.content)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Reads one object.

    Raises:
        EOFError: if the other end is closed.
    """
    return receive_packed(stream).value()


def receive_packed(stream: BinaryIO) -> Packed:
    """Reads one object, which stays pickled.

    Raises:
        EOFError: if the other end is closed.
    """
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    length, final = _HEAD.unpack(head)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return Packed(content, final)


def main(parent: int) -> None:
    """Does tasks until the engine closes the pipe, or is gone."""
    die_with(parent)
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # the engine asks where the code is
    die_first()
    inbox, outbox, log = private_streams()
    import pyarrow

    from crucibench.engine.worker.tasks import FINAL, Failed, MadeData, Setup
    from crucibench.engine.worker.worker import Worker

    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(inbox, tasks), daemon=True).start()
    worker: Worker | None = None
    own = os.getpid()
    while True:
        task = tasks.get()
        if isinstance(task, Exception):
            reason = f"it can't be read here: {type(task).__name__}: {task}"
            send(outbox, Failed("input", reason), final=True)
            continue
        if isinstance(task, Setup):
            worker = Worker(task)
            if task.memory is not None:
                pyarrow.array([0])  # reserves what Arrow will use, before the limit is set
                limit_memory(task.memory)
            continue
        if worker is None:
            raise AssertionError("the setup comes before the first task")
        if isinstance(task, MadeData):
            worker.share(task)
            continue
        for message in worker.perform(task):
            if os.getpid() != own:
                os._exit(0)  # the model's code forked, and both went on
            _flush(log)
            send(outbox, message, final=isinstance(message, FINAL))


def _read(inbox: BinaryIO, tasks: queue.SimpleQueue[Any]) -> None:
    try:
        while True:
            packed = receive_packed(inbox)
            try:
                tasks.put(packed.value())
            except Exception as error:  # a plug-in is missing where this runs
                tasks.put(error)
    except EOFError:
        # The engine has closed, or died: nobody wants what is under way any more.
        os._exit(0)
    finally:
        # The model's code has closed the pipe: no task can arrive any more.
        os._exit(1)


def _flush(log: int) -> None:
    """Passes on what was printed; a stream that the model's code has closed is opened again."""
    for descriptor in (1, 2):  # else the next file that is opened gets it, and what is printed
        try:
            os.fstat(descriptor)
        except OSError:
            os.dup2(log, descriptor)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
