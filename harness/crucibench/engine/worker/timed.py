"""Times cells in the process of their model: the lease of the machine, and the rounds."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from crucibench.contracts.records import Columns, to_table
from crucibench.contracts.scenario import Timed, TimedContext
from crucibench.engine.plan.plan import PlannedCell
from crucibench.engine.worker.meter import Meter
from crucibench.engine.worker.tasks import Done, Waiting
from crucibench.store.layout import Layout
from crucibench.store.lock import release, take
from crucibench.store.tables import write_table
from crucibench.util.hashing import file_digest
from crucibench.util.memory import available_memory, own_memory

_ROOM = 1.5
"""There is room for another model where so many times the memory of the latest is free."""


class OpenTimedCell:
    """One timed cell that is open."""

    def __init__(self, cell: PlannedCell, context: TimedContext, device: str) -> None:
        self._cell = cell
        self._meter = Meter(context.adapter, device)
        self._tables: list[pa.Table] = []
        self._context = context
        self.begin()

    def begin(self) -> None:
        """Begins the rounds; again, where they are over."""
        scenario = self._cell.scenario
        if not isinstance(scenario, Timed):
            raise TypeError(f"{scenario.address} is not a Timed scenario")
        self._rounds: Iterator[Columns] = scenario.rounds(self._context)

    def round(self, number: int) -> bool:
        """Does one round; returns whether there was one left.

        Its records carry its number, so that rounds pair across models.
        """
        columns = next(self._rounds, None)
        if columns is None:
            return False
        table = to_table(columns)
        self._tables.append(table.append_column("round", pa.array([number] * table.num_rows)))
        return True

    def close(self, layout: Layout) -> Done:
        """Writes all rounds."""
        cost = self._meter.read()
        if not self._tables:
            return Done(cost=cost)
        path = layout.shard(self._cell.id, 0, 0)
        write_table(path, pa.concat_tables(self._tables).combine_chunks())
        return Done(files={path.name: file_digest(path)}, cost=cost)


def crowded(device: str) -> bool:
    """Returns whether memory would hardly hold another model like the one of this process."""
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return free < _ROOM * torch.cuda.memory_reserved(device)
    free_here, used = available_memory(), own_memory(os.getpid())
    return free_here is not None and used is not None and free_here < _ROOM * used


_LOOK_SECONDS = 0.2
_TELL_SECONDS = 30.0


@contextlib.contextmanager
def machine_lease(device: str) -> Iterator[Iterator[Waiting]]:
    """Holds the device that is timed; on a CPU, the machine.

    Yields:
        An iterator to exhaust before timing begins: it ends once the lease is held, and yields a
        sentence now and then until then. The system releases the lease when the process ends.
    """
    path = _folder() / f"{_name(device)}.lease"
    with path.open("a+", encoding="utf-8") as stream:
        try:
            yield _until_held(stream.fileno(), path)
        finally:
            release(stream.fileno())


def _until_held(descriptor: int, path: Path) -> Iterator[Waiting]:
    noted = -_TELL_SECONDS
    while not take(descriptor):
        if time.monotonic() - noted >= _TELL_SECONDS:
            noted = time.monotonic()
            yield Waiting(f"another run is timing on this machine: waiting for {path.stem}")
        time.sleep(_LOOK_SECONDS)


def _folder() -> Path:
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"crucibench-leases-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _name(device: str) -> str:
    if not device.startswith("cuda"):
        return "machine"
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"  # type: ignore[attr-defined,unused-ignore]
