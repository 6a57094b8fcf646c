"""How a run is carried out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crucibench.engine.plan.plan import PlannedCell
from crucibench.store.layout import PART
from crucibench.util.hashing import data_digest


@dataclass(frozen=True)
class Part:
    """One of several parts of a run, counted from 1."""

    number: int
    of: int

    @property
    def suffix(self) -> str:
        """What the folder's name has beyond the run's id."""
        return f"{PART}{self.number}-of-{self.of}"

    def has(self, cell: PlannedCell, shard: int) -> bool:
        """Whether a shard of a cell that is split is this part's; -1 for its probes."""
        return (_offset(cell, self.of) + shard) % self.of == self.number - 1


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
    failures: float | None = None
    part: Part | None = None


def _offset(cell: PlannedCell, of: int) -> int:
    return int(data_digest(cell.id)[:8], 16) % of
