"""The three kinds of scenario: Mapped, Derived and Timed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.audit import audits, plugged_in
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import (
    DECISION,
    CellEvidence,
    Evidence,
    Findings,
    ModelInfo,
    OutcomeView,
    Scored,
)
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.rows import Row
from crucibench.contracts.statistic import Number
from crucibench.contracts.verdict import Finding, Severity
from crucibench.util.draws import Draws

if TYPE_CHECKING:
    from crucibench.contracts.asking import Reply


@dataclass(frozen=True, kw_only=True)
class Need:
    """Another cell that a scenario reads.

    Attributes:
        alias: the name under which the evidence holds it.
        cell: ``SUITE/SCENARIO``; ``pass/ROLE`` is a plain forward pass over a role.
        model: None for the scenario's own model, else a reference or surrogate by name.
        outputs: what a pass must hold: any of ``scores``, ``values``, ``labels``, ``features``;
            empty for whatever the model's best answer is.
        optional: if the need can't be had, the scenario runs without it; else it is skipped.
    """

    alias: str
    cell: str
    model: str | None = None
    outputs: frozenset[str] = frozenset()
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class Scenario(ABC):
    """One specified test. Subclass `Mapped`, `Derived` or `Timed`, as a frozen dataclass.

    Attributes:
        suite: the suite's name.
        name: the scenario's name; with the suite it is unique in a run.
        parameters: JSON-like data that gives the result its meaning; part of its identity.
        points: the values it is read at, e.g. ``severity=3``; one empty string where there is one.
        role: the role whose samples it asks about.
        limit: at most so many samples, a stratified subset; None for all.
        version: raised whenever the same model and data would give other records.
        metrics: what `score` may report.
        requires: the capabilities that a model must have; others are skipped.
        roles: other roles that the data must have.
        needs: other cells.
        draws: ``sample`` if random draws are keyed by sample, ``batch`` where a library draws for
            itself, seeded per canonical batch; ``none``.
        on_hardware: whether its numbers are of the machine as well: then those of two machines are
            not comparable.
        reads_groups: whether its numbers depend on which columns are the groups: then those of data
            with other groups are not comparable.
        intensive: whether it asks a model far more often than once a sample and point: on a served
            model only where the spec allows it.
        perturbs: whether it changes the canonical sample: then models of other input geometry are
            not comparable.
        decides: whether its records depend on the model's decision rule.
        any_sizes: whether what it changes may be images in their own sizes, a list of tensors.
        keeps: names of artefacts that the run was asked to keep beside the records (see
            `Work.keep`): no part of what the records mean.
        shows: whether it can keep examples (`crucibench.contracts.examples`): then `keeps` has
            them, unless the run was asked for none.
        audits: names of the registered audits that `audit` runs, in order.
        compared_tables: names of tables that `tables_against` makes.
        headline_metrics: metric ids, with ``@GROUP``, at the point without a name, that stand for a
            scenario which its user named, beside `Suite.headline`.
    """

    suite: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    points: tuple[str, ...] = ("",)
    role: str = "test"
    limit: int | None = None
    needs: tuple[Need, ...] = ()
    keeps: frozenset[str] = frozenset()

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = ()
    requires: ClassVar[frozenset[Capability]] = frozenset()
    roles: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[Literal["sample", "batch", "none"]] = "none"
    perturbs: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    any_sizes: ClassVar[bool] = False
    on_hardware: ClassVar[bool] = False
    reads_groups: ClassVar[bool] = False
    intensive: ClassVar[bool] = False
    shows: ClassVar[bool] = False
    audits: ClassVar[tuple[str, ...]] = ()
    compared_tables: ClassVar[tuple[str, ...]] = ()
    headline_metrics: ClassVar[tuple[str, ...]] = ()

    @property
    def address(self) -> str:
        """``SUITE/SCENARIO``."""
        return f"{self.suite}/{self.name}"

    @property
    def stream(self) -> str:
        """The name of its random stream: it leaves out model, severity and eps."""
        return self.address

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns its numbers as statistics of samples: a pure function of the evidence.

        From this one list the engine makes rows with intervals, paired differences of two models,
        and ranks. Numbers come in the order of the report. Those of a `Timed` scenario are
        statistics of rounds, in the rounds' order. What it reads of records it reads before it
        returns, not in `Number.make`: packs keep what was read.
        """
        return ()

    def askings(self, evidence: Evidence) -> int:
        """Returns over how many askings of the same samples its numbers are means."""
        return 1

    def tables(self, evidence: Evidence, rows: Sequence[Row]) -> Mapping[str, pd.DataFrame]:
        """Returns the data behind plots and long tables, by name; report sections refer to them.

        Args:
            evidence: as of `numbers`.
            rows: the rows of `numbers`.
        """
        return {}

    def tables_against(self, evidence: Evidence, before: Evidence) -> Mapping[str, pd.DataFrame]:
        """Returns `compared_tables`, as a report with a baseline shows them.

        Args:
            evidence: as of `numbers`.
            before: that of the baseline's cell, which may be compared with this one.
        """
        return {}

    def score(self, evidence: Evidence) -> Scored:
        """Computes rows that two models are not compared by, and their tables."""
        return Scored([])

    def audit(self, evidence: Evidence) -> Findings:
        """Says how far the numbers can be trusted: a pure function of the evidence.

        Here, what its `audits` find. A scenario with nothing to look at says so in their place.
        """
        return [found for name in self.audits for found in audits().get(name).find(evidence, self)]

    @final
    def findings(self, evidence: Evidence) -> Findings:
        """Returns what `audit` finds, and audits of other packages that name this scenario.

        Also says so where the model is to be asked several times and these numbers are of once.
        """
        return [*self.audit(evidence), *plugged_in(evidence, self), *self._asked_once(evidence)]

    def _asked_once(self, evidence: Evidence) -> Findings:
        own = evidence.own
        if own.model.repeat == 1 or own.askings or self.on_hardware or not self.metrics:
            return []
        if self.askings(evidence) > 1:
            return []
        unsteady = any(cell.unsteady.any() for cell in evidence.needs.values())
        message = (
            f"these numbers are of one asking: of {own.model.repeat} (repeat) only what is made of "
            "plain passes alone takes the mean"
        )
        severity = Severity.SUSPECT if unsteady else Severity.INFO
        return [Finding(code="asked-once", severity=severity, message=message)]

    def outcomes(self, evidence: Evidence) -> OutcomeView | None:
        """Returns the uniform view of the records, or None where there are no outcomes."""
        return None

    @property
    def gives_outcomes(self) -> bool:
        """Whether it has an outcome view."""
        return type(self).outcomes is not Scenario.outcomes


def needs_of(scenario: Scenario, model: ModelInfo) -> tuple[Need, ...]:
    """Returns the cells that a model's cell reads: the pass that its thresholds are chosen on, too.

    That is read by the engine (`Evidence.of`); the scenario sees the thresholds.
    """
    role = model.decision.chosen_on
    if not role or isinstance(scenario, Timed) or scenario.suite == "pass":
        return scenario.needs
    chosen = Need(alias=DECISION, cell=f"pass/{role}", outputs=frozenset({"scores"}))
    return (*scenario.needs, chosen)


@dataclass(frozen=True)
class StageView:
    """What a stage chooses its samples from.

    Attributes:
        samples: the sample table, whole.
        needs: the needed cells by alias.
        earlier: the records of the stages before, by stage; one that asked about nothing has none.
    """

    samples: Samples
    needs: Mapping[str, CellEvidence]
    earlier: Mapping[str, Records]


@dataclass(frozen=True)
class Selection:
    """A stage's choice.

    Attributes:
        keep: shape (n,), bool: the samples that enter; they are re-batched over the whole set.
        carry: arrays of n rows whose rows for a batch reach `run`, e.g. a warm start.
    """

    keep: NDArray[np.bool_]
    carry: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def _keep_nothing(artifact: str, columns: Columns) -> None:
    """Where nobody asked for artefacts."""


@dataclass(frozen=True)
class Work:
    """One canonical batch of a stage.

    Attributes:
        batch: the samples.
        samples: their targets and groups.
        carry: the rows of what `select` carried.
        keep: takes columns of an artefact by its name, with ``id`` among them, once a batch: what
            is of use beside the records and may be large, or hold inputs. Kept in the cell's
            folder ``artifacts``, where the scenario `keeps` it; else dropped.
    """

    batch: Batch
    samples: Samples
    carry: Mapping[str, NDArray[Any]]
    keep: Callable[[str, Columns], None] = _keep_nothing


class KeptAnswers(Protocol):
    """Answers of language models, by the digest of the question."""

    def find(self, question: int) -> Reply | None:
        """Returns an answer that is known."""

    def add(self, question: int, reply: Reply) -> None:
        """Keeps an answer, unless it is known; from any thread."""


@dataclass(frozen=True)
class MapContext:
    """What a Mapped scenario works with.

    Attributes:
        adapter: the model.
        draws: keyed draws of the scenario's stream.
        outputs: what a pass was asked for, merged over all who need it.
        batch_size: how many samples memory is known to hold at once; None if that is not known. A
            probe, which may get more, asks about them in pieces.
        load: returns other samples of the role, by their rows among those that are asked about, in
            the same canonical form: for what is made of more than one sample. Choose the rows in
            `select`, where the whole role is seen, and carry them.
        showing: the share of the samples that may be kept as examples; 0 where none are.
        answers: of language models, what is known already and where answers are kept as they come:
            for the questions of `run`, never for a probe; None where they are not kept.
    """

    adapter: Adapter
    draws: Draws
    outputs: frozenset[str] = frozenset()
    batch_size: int | None = None
    load: Callable[[Sequence[int]], Batch] | None = None
    showing: float = 0.0
    answers: KeptAnswers | None = None


@dataclass(frozen=True, kw_only=True)
class Mapped(Scenario):
    """Works sample by sample; the engine shards, batches and resumes.

    Stages run one after the other with a barrier between them.
    """

    stages: ClassVar[tuple[str, ...]] = ("main",)

    @property
    def most_questions(self) -> int | None:
        """How often each sample is asked about at most, all stages and points together.

        None where that is once a point and stage; attacks ask more often. What a plan says of the
        requests to a served model follows from it.
        """
        return None

    @property
    def most_probed(self) -> int | None:
        """How many questions `probe` asks at most; None where it is a batch a point."""
        return None

    def select(self, stage: str, view: Callable[[], StageView]) -> Selection | None:
        """Chooses the samples that enter a stage; None for all, in O(batch) memory."""
        return None

    @abstractmethod
    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        """Returns the records of one batch: a row per sample and point.

        Column names and types are the same for every batch of a stage.
        """

    def probe(self, work: Work, context: MapContext) -> Mapping[str, Columns]:
        """Returns probe records by name, once a cell, on a fixed batch: evidence for audits."""
        return {}

    def recheck(self, own: CellEvidence, context: MapContext) -> Sequence[str]:
        """Holds artefacts of a finished cell against its records, by asking the model again.

        Args:
            own: the cell, with its artefacts; one of which no shard kept a row is not among them.
                Its rows of samples are those that `context.load` takes.
            context: the model.

        Returns:
            One sentence for each kind of difference; none where all agree, but for float noise.
        """
        return ()


@dataclass(frozen=True, kw_only=True)
class Derived(Scenario):
    """Computed from other cells' records, without a model.

    Attributes:
        judges: whether `derive` is a part of scoring: done again when a run is scored again.
    """

    judges: ClassVar[bool] = False

    def askings(self, evidence: Evidence) -> int:
        """Returns how often the passes asked, where its numbers are made of nothing else."""
        cells = [evidence.own, *evidence.needs.values()]
        if any(cell.model.repeat > 1 and not cell.askings and len(cell.records) for cell in cells):
            return 1
        if type(self).numbers is Scenario.numbers:
            return 1
        return max([1, *(len(cell.askings) for cell in cells)])

    def derive(self, evidence: Evidence) -> Columns | None:
        """Returns records of its own, or None where the needs' records say it all."""
        return None


@dataclass(frozen=True, kw_only=True)
class FreshStart:
    """What a process took that was started to answer with one model alone.

    Attributes:
        process: s from its start until it began to open the model: the interpreter, the harness,
            and the libraries that the samples are made of.
        load: s to open the model as it is.
        prepare: s to make the variant of it, compilation among it; 0 for the model as it is.
        calls: s of each call, the first among them.
        memory: the most bytes that it had resident; None where that can't be told.
        answer: to the first call; None where nobody can read it.
    """

    process: float
    load: float
    prepare: float
    calls: tuple[float, ...]
    memory: int | None = None
    answer: Answer | None = None


@dataclass(frozen=True)
class TimedContext:
    """What a Timed scenario works with.

    Attributes:
        adapter: the model.
        draws: keyed draws.
        load: returns that many real samples as one batch, repeating them if the set is smaller.
        read: reads and decodes samples anew, by their positions in what `load` returns.
        start: opens the same model in a new process and asks it about a batch so many times; None
            for live objects, which can't leave their process.
    """

    adapter: Adapter
    draws: Draws
    load: Callable[[int], Batch]
    read: Callable[[Sequence[int]], Batch]
    start: Callable[[Batch, int], FreshStart] | None = None


@dataclass(frozen=True, kw_only=True)
class Timed(Scenario):
    """Yields rounds, so that the engine interleaves the run's models A B A B; never cached."""

    on_hardware: ClassVar[bool] = True

    @abstractmethod
    def rounds(self, context: TimedContext) -> Iterator[Columns]:
        """Yields the records of one round at a time; an id names a query."""
