"""The lease of a device or machine: one timed cohort at a time, whichever run it belongs to."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from crucibench.engine.worker.tasks import Waiting
from crucibench.store.lock import release, take

_LOOK_SECONDS = 0.2
_TELL_SECONDS = 30.0


@contextlib.contextmanager
def machine_lease(device: str) -> Iterator[Iterator[Waiting]]:
    """Holds the device that is timed; on a CPU, the machine.

    Yields:
        What must be run through before timing begins: it ends once the lease is held, and yields a
        sentence now and then until then. The system lets go of the lease when the process ends.
    """
    path = _folder() / f"{_name(device)}.lease"
    with path.open("a+", encoding="utf-8") as stream:
        try:
            yield _until_held(stream.fileno(), path)
        finally:
            release(stream.fileno())


def _until_held(descriptor: int, path: Path) -> Iterator[Waiting]:
    told = -_TELL_SECONDS
    while not take(descriptor):
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
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
