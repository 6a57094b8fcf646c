"""Which executor carries out a run."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from crucibench.engine.executors.base import Executor
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    from crucibench.engine.options import RunOptions
    from crucibench.engine.resolve.resolve import Resolved


WORKERS = "CRUCIBENCH_WORKERS"
"""The environment variable that says how many workers where the command does not."""


def choose_executor(
    resolved: Resolved, options: RunOptions, threads: int, devices: int
) -> Executor | None:
    """Returns the executor, started; None where everything is done in this process.

    Args:
        resolved: the spec.
        options: how the run is carried out.
        threads: of numerical libraries, in each worker.
        devices: CUDA devices to spread workers over.

    Raises:
        InputError: if live objects are to leave this process, or Ray can't be reached.
    """
    workers = options.workers
    ray = options.executor == "ray"
    if workers is None and not ray:
        workers = (
            0 if resolved.live else _default_workers() if WORKERS in os.environ else max(1, devices)
        )
    if workers == 0:
        return None
    if resolved.live:
        asked = f"executor={options.executor!r}" if workers is None else f"workers={workers}"
        raise InputError(
            f"{asked}: a live model or data set can't be handed to another process; "
            "give its address (a URI), or workers=0"
        )
    if ray:
        from crucibench.engine.executors.ray_cluster import RayExecutor

        return RayExecutor(
            workers, threads, options.ray_address, gpus=options.ray_gpus,
            cuda=_on_cuda(resolved, devices),
        )  # fmt: skip
    from crucibench.engine.executors.local import LocalExecutor

    return LocalExecutor(workers or 1, threads, devices, libraries=_libraries(resolved))


def _libraries(resolved: Resolved) -> tuple[str, ...]:
    """Returns what several models' processes would import, each for itself."""
    adapters = Counter(entry.adapter for entry in resolved.models.values())
    named = [kind.libraries for kind, models in adapters.items() if models > 1]
    if len(resolved.models) > 1:
        named += [entry.suite.libraries for entry in resolved.suites.values()]
    return tuple(dict.fromkeys(library for libraries in named for library in libraries))


def _on_cuda(resolved: Resolved, devices: int) -> bool:
    """Returns whether models run on GPUs, which Ray is to hand out."""
    named = {resolved.spec.defaults.device}
    named |= {entry.spec.device for entry in resolved.models.values()}
    for name in sorted(named):
        if name.startswith("cuda:") and name != "cuda:0":
            raise InputError(f"device {name!r}: Ray chooses the GPU of each worker; say cuda")
    return devices > 0 or any(name.startswith("cuda") for name in named)


def _default_workers() -> int:
    text = os.environ[WORKERS]
    if not text.isdecimal():
        raise InputError(f"{WORKERS}: expected a whole number, got {text!r}")
    return int(text)


def oversubscribed(workers: int, threads: int) -> str | None:
    """Returns a sentence where workers have more threads than there are cores, or None."""
    cores = os.cpu_count() or 1
    if workers < 2 or workers * threads <= cores:
        return None
    return (
        f"{workers} workers of {threads} threads share {cores} cores: --threads "
        f"{max(1, cores // workers)} would let them run side by side"
    )
