"""What workers are asked and what they answer: plain data that can be sent to another process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, assert_never

if TYPE_CHECKING:
    from crucibench.contracts.data import DataCard
    from crucibench.contracts.evidence import ModelInfo
    from crucibench.contracts.source import RawData
    from crucibench.engine.fixed_probe import ProbeAnswer
    from crucibench.engine.plan.plan import PlannedCell
    from crucibench.engine.resolve.resolve import Resolved
    from crucibench.store.cells import CellFile


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What every task of a run shares.

    Attributes:
        resolved: the spec.
        cards: the cards of the data, by name: a worker that reads other data refuses.
        scratch: where indexes of data are kept.
        root: the run's folder.
        device: where models run, unless the spec says otherwise for one.
        threads: of numerical libraries.
        memory: bytes that a worker may use, or None.
        reuse: an earlier run whose answers of language models are used again, or None.
        makes: data sets that the user's own code makes: it runs in a process of its own, and what
            it made is shared (`MadeData`).
    """

    resolved: Resolved
    cards: Mapping[str, DataCard]
    scratch: Path
    root: Path
    device: str
    threads: int
    memory: int | None = None
    reuse: Path | None = None
    makes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FactsTask:
    """Say what you work with."""


@dataclass(frozen=True, kw_only=True)
class InspectTask:
    """Open a model on a data set and ask it a probe batch.

    Attributes:
        model: its name.
        data: the data set's.
        batch_size: what ``auto`` came to before; None to find out.
        probe: the rows of the role test that the fixed probe holds.
    """

    model: str
    data: str
    batch_size: int | None = None
    probe: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProbeTask:
    """Collect the probe records of a cell."""

    cell: PlannedCell
    at_most: int | None = None


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Collect one shard of one stage.

    Attributes:
        cell: the cell.
        stage: its number.
        shard: its number in the stage.
        at_most: what the batch was brought down to by want of memory, or None.
    """

    cell: PlannedCell
    stage: int
    shard: int
    at_most: int | None = None


@dataclass(frozen=True, kw_only=True)
class LeaseTask:
    """Take the lease of the machine or device that a cohort is timed on, or give it back."""

    hold: bool


@dataclass(frozen=True, kw_only=True)
class OpenTask:
    """Open a timed cell's model and begin its rounds.

    Attributes:
        cell: the cell.
        more: whether it is open, and its next rounds join those that it has done.
    """

    cell: PlannedCell
    more: bool = False


@dataclass(frozen=True, kw_only=True)
class RoundTask:
    """Do one round of a timed cell that is open.

    Attributes:
        cell: the cell.
        number: of the round: equal numbers pair across models.
    """

    cell: PlannedCell
    number: int


@dataclass(frozen=True, kw_only=True)
class CloseTask:
    """Write the rounds of a timed cell."""

    cell: PlannedCell


@dataclass(frozen=True, kw_only=True)
class DataTask:
    """Call the user's code that makes a data set.

    Attributes:
        data: its name.
    """

    data: str


@dataclass(frozen=True, kw_only=True)
class AsideTask:
    """Do what no user's code has part in.

    Attributes:
        work: a function of a module, called with the setup and what is given.
        given: what it is given.
    """

    work: Callable[..., Scored]
    given: tuple[Any, ...]


TimedTask: TypeAlias = LeaseTask | OpenTask | RoundTask | CloseTask
"""Part of a cohort: the machine does nothing else meanwhile."""

Task: TypeAlias = FactsTask | DataTask | InspectTask | ProbeTask | ShardTask | AsideTask | TimedTask


def owner_of(task: Task) -> str:
    """Returns whose process does a task: a model's or a data set's; "" if user code has no part.

    A model is timed in a process that does nothing else, and hands memory out as any other does.
    """
    match task:
        case FactsTask() | LeaseTask() | AsideTask():
            return ""
        case DataTask():
            return f"data {task.data}"
        case InspectTask():
            return f"model {task.model}"
        case ProbeTask() | ShardTask():
            return f"model {task.cell.model.name}"
        case OpenTask() | RoundTask() | CloseTask():
            return f"timing {task.cell.model.name}"
        case _:
            assert_never(task)


def holds_state(task: Task) -> bool | None:
    """Returns whether a task leaves something in its process that later ones need, or ends that.

    None for a task that changes nothing about it.
    """
    match task:
        case LeaseTask():
            return task.hold
        case OpenTask() | RoundTask():
            return True
        case CloseTask():
            return False
        case _:
            return None


@dataclass(frozen=True)
class Began:
    """The worker is ready, and begins the task now: from here on its time counts."""


@dataclass(frozen=True)
class Advanced:
    """So many more samples (or rounds) of a cell are done."""

    cell: str
    samples: int


@dataclass(frozen=True)
class Waiting:
    """A sentence about what is waited for."""

    what: str


@dataclass(frozen=True)
class Reduced:
    """Memory ran out: the batch is this small from now on."""

    cell: str
    batch_size: int


@dataclass(frozen=True)
class TaskCost:
    """What a task cost.

    Attributes:
        begun: seconds since the epoch.
        seconds: on the wall.
        cpu_seconds: of all threads of the worker.
        device_seconds: between the first and the last thing an accelerator was given; None
            without one.
        forwards: samples that went through the model.
        backwards: samples that a gradient came back for.
        peak_memory: bytes of the worker, highest during the task; None if unknown.
    """

    begun: float
    seconds: float
    cpu_seconds: float
    device_seconds: float | None = None
    forwards: int = 0
    backwards: int = 0
    peak_memory: int | None = None


@dataclass(frozen=True)
class WorkerFacts:
    """What a worker works with: by name, what must be equal in all workers of a run."""

    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Done:
    """A task ended well.

    Attributes:
        files: name to digest of what it wrote into the cell's folder.
        probes: of a probe task, the names.
        cost: what it cost.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    probes: tuple[str, ...] = ()
    cost: TaskCost


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What inspection found.

    Attributes:
        info: about the model.
        seconds_per_sample: on the probe batch.
        batch_size: what ``auto`` comes to for this model on this data.
        probe: what it answers to the fixed probe; None where nothing is stored of it.
        reads: the files that were read to open it, beside those that its address names, by
            absolute path, with their SHA-256.
        environment: the names of the environment variables that the user's code read.
    """

    info: ModelInfo
    seconds_per_sample: float
    batch_size: int
    probe: ProbeAnswer | None = None
    reads: Mapping[str, str] = field(default_factory=dict)
    environment: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class MadeData:
    """What the user's code has made of a data set.

    Attributes:
        data: its name.
        raw: role in the run to its data: "" for the data set itself, else that of a suite's.
        reads: the files that it read, by absolute path, with their SHA-256.
        environment: as in `Inspected`.
    """

    data: str
    raw: Mapping[str, RawData]
    reads: Mapping[str, str] = field(default_factory=dict)
    environment: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Opened:
    """The lease is held, or a timed cell's model is open.

    Attributes:
        crowded: whether there is no room for another model beside those that are open.
    """

    crowded: bool = False


@dataclass(frozen=True, kw_only=True)
class RoundDone:
    """A round is over.

    Attributes:
        last: whether there was none left.
    """

    last: bool


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A cell is scored.

    Attributes:
        file: its file, with its verdict.
        rows: its metric rows.
    """

    file: CellFile
    rows: list[dict[str, Any]]


Kind: TypeAlias = Literal[
    "input", "unavailable", "error", "model-changed", "storage", "timeout", "worker", "worn"
]


@dataclass(frozen=True)
class Failed:
    """A task ended badly.

    Attributes:
        kind: ``input``: a mistake, in a sentence; ``unavailable``: likewise, and no mistake: it
            can't be had on this machine; ``error``: raised; ``model-changed``: another model
            answers; ``storage``: the disk refused, which is nobody's failure and ends the run;
            ``timeout``; ``worker``: the process died of it; ``worn``: memory ran out in
            a process that has done other tasks, and a new one is to try again.
        reason: one sentence.
        detail: the traceback, or the end of the log.
    """

    kind: Kind
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Gone:
    """The worker is no more.

    Attributes:
        reason: one sentence.
        detail: the end of its log.
        lost: whether the machine went away, so that the task is not to blame.
        killed: whether a signal from outside ended it (e.g. for want of memory), no fault of its
            code.
    """

    reason: str
    detail: str = ""
    lost: bool = False
    killed: bool = False


Message: TypeAlias = (
    Began
    | Advanced
    | Waiting
    | Reduced
    | WorkerFacts
    | Done
    | Inspected
    | MadeData
    | Opened
    | RoundDone
    | Scored
    | Failed
    | Gone
)

FINAL = (WorkerFacts, Done, Inspected, MadeData, Opened, RoundDone, Scored, Failed, Gone)
"""After one of these the worker waits for its next task."""
