"""A model opened and asked in a process that is started for it: what a cold start takes."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from crucibench.contracts.batch import Batch
from crucibench.contracts.scenario import FreshStart
from crucibench.util.errors import CrucibenchError
from crucibench.util.processes import die_with, private_streams

if TYPE_CHECKING:
    from crucibench.engine.plan.plan import PlannedCell
    from crucibench.engine.worker.tasks import Setup

_MAIN = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from crucibench.engine.worker.cold_start import main; main(int(sys.argv[2]))"
)
_TAIL = 2000


@dataclass(frozen=True)
class _Order:
    """What the new process is to do."""

    setup: Setup
    model: str
    data: str
    batch: Batch
    calls: int


def fresh_start(setup: Setup, cell: PlannedCell, batch: Batch, calls: int) -> FreshStart:
    """Opens a cell's model in a new process and asks it about `batch` so many times.

    The process has this one's environment, threads and search path. Files that were read before are
    in the system's cache.

    Raises:
        CrucibenchError: if the process ends before it has answered.
    """
    order = pickle.dumps(_Order(setup, cell.model.name, cell.data.name, batch, calls))
    command = [sys.executable, "-P", "-c", _MAIN, json.dumps(sys.path), str(os.getpid())]
    with tempfile.TemporaryFile() as log:
        begun = time.perf_counter()
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(order)
                process.stdin.flush()
                pickle.load(process.stdout)
                ready = time.perf_counter() - begun
                return FreshStart(process=ready, **pickle.load(process.stdout))
            except (EOFError, OSError) as error:
                raise CrucibenchError(
                    f"the process that was started to open the model ended with exit code "
                    f"{process.wait()} before it answered: {_tail(log)}"
                ) from error
            finally:
                process.kill()  # what the model's code has started in it may go on


def main(parent: int) -> None:
    """Runs in the new process: opens the model, asks it, and sends how long each took."""
    die_with(parent)
    inbox, outbox, _ = private_streams()
    order: _Order = pickle.load(inbox)
    _tell(outbox, "ready")
    _tell(outbox, _started(order))


def _started(order: _Order) -> dict[str, Any]:
    from crucibench.engine.worker.opening import open_plain
    from crucibench.util.devices import set_threads
    from crucibench.util.memory import peak_memory

    setup = order.setup
    set_threads(setup.threads)
    entry = setup.resolved.models[order.model]
    now = time.perf_counter
    begun = now()
    adapter = open_plain(entry, setup.resolved, setup.device, setup.cards[order.data])
    loaded = now()
    if entry.variant:
        adapter = adapter.with_variant(entry.variant)
    prepared = now()
    calls, answer = [], None
    for number in range(order.calls):
        before = now()
        found = adapter.timed(order.batch)
        calls.append(now() - before)
        if number == 0:
            answer = adapter.read_timed(found)
    return {
        "load": loaded - begun,
        "prepare": prepared - loaded if entry.variant else 0.0,
        "calls": tuple(calls),
        "memory": peak_memory(),
        "answer": answer,
    }


def _tell(outbox: BinaryIO, message: object) -> None:
    pickle.dump(message, outbox)
    outbox.flush()


def _tail(log: BinaryIO) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace")[-_TAIL:].strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
