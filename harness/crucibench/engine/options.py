"""The options of a run, and the executor that they choose."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from crucibench.engine.executors.base import Executor
from crucibench.engine.plan.plan import PlannedCell
from crucibench.store.layout import PART
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest

if TYPE_CHECKING:
    from crucibench.engine.resolve.resolve import Resolved
    from crucibench.store.run import Run

WORKERS = "CRUCIBENCH_WORKERS"
"""The environment variable with the number of workers, where the command gives none."""


@dataclass(frozen=True)
class RunPart:
    """One of several parts of a run, counted from 1."""

    number: int
    of: int

    @property
    def suffix(self) -> str:
        """What the folder's name appends to the run's id."""
        return f"{PART}{self.number}-of-{self.of}"

    def has(self, cell: PlannedCell, shard: int) -> bool:
        """Whether a shard of a cell that is split is this part's; -1 for its probes."""
        first = int(data_digest(cell.id)[:8], 16)
        return (first + shard) % self.of == self.number - 1


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run is carried out; nothing here changes a result.

    Attributes:
        out: the folder that holds the runs.
        scratch: where indexes of data and collected cells are kept between runs.
        keep_going: a model that fails inspection fails its own cells only.
        dry_run: stop after the plan.
        fresh: throw away what an earlier run of the same spec left.
        where: what messages call the spec.
        executor: ``local`` or ``ray``.
        workers: processes; 0 for none, everything in this one; None for as many as suit: one, or
            one a CUDA device, or 0 where live objects can't leave this process.
        ray_address: of a Ray cluster; None for RAY_ADDRESS, or one of this machine's own.
        ray_gpus: that each worker on Ray reserves, a share of one or a whole number; None for 1.
        cache: whether cells are kept for later runs and taken from earlier ones.
        memory: bytes that a worker process may use; None for no limit.
        retries: how often a cell's tasks are tried again after the model raised or died.
        part: does this part of the run alone, into a folder of its own, to be merged; None for all.
        reuse: an earlier run whose answers of language models are used again instead of asking.
        failures: how many cells may fail before the run is stopped: a number, or a share below 1;
            None for any number.
    """

    out: Path
    scratch: Path
    keep_going: bool = False
    dry_run: bool = False
    fresh: bool = False
    where: str = "spec"
    executor: Literal["local", "ray"] = "local"
    workers: int | None = None
    ray_address: str | None = None
    ray_gpus: float | None = None
    cache: bool = True
    memory: int | None = None
    retries: int = 0
    reuse: Run | None = None
    failures: float | None = None
    part: RunPart | None = None


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
    """Returns the modules that the models' processes need, to be imported once.

    What suites need is worth it for several models alone: they may skip these cells.
    """
    named = [entry.adapter.libraries for entry in resolved.models.values()]
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
