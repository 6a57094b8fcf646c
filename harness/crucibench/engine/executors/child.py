"""The process of a local worker: reads tasks from its standard input, answers on its output.

What models print goes to the log: the two streams are put out of their reach first.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from crucibench.engine.executors.frames import receive_packed, send
from crucibench.util.memory import die_first, limit_memory
from crucibench.util.processes import die_with, private_streams


def main(parent: int) -> None:
    """Does tasks until the engine closes the pipe, or is gone."""
    die_with(parent)
    faulthandler.enable()
    if hasattr(signal, "SIGUSR1"):
        faulthandler.register(signal.SIGUSR1)  # the engine asks where the code is
    die_first()
    inbox, outbox, log = private_streams()
    import pyarrow
    import torch  # noqa: F401 - while the engine reads the data

    from crucibench.engine.worker.tasks import FINAL, Failed, Made, Setup
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
        if isinstance(task, Made):
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
        # The engine has closed, or died: whatever is under way is not wanted any more.
        os._exit(0)
    finally:
        # The model's code has closed what is not its own: nothing is heard here any more.
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
