"""What score and audit are computed from: records and sample tables, never the model."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability, ScoreKind
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.lists import from_arrow, moved_rows
from crucibench.contracts.records import KEYS, Records
from crucibench.contracts.rows import Row
from crucibench.contracts.task import Decision, Task
from crucibench.contracts.verdict import Finding
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

T = TypeVar("T")

DECISION = "decision"
"""The alias of the pass that a model's thresholds are chosen on."""

_NOISE = {"bf16": 5e-2, "fp16": 1e-2, "tf32": 1e-2, "int8": 2e-2}
_FLOAT32 = 1e-4


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What inspection found out about a model; plain data, stored with the run.

    Attributes:
        name: as the spec calls it.
        uri: its address.
        variant: e.g. ``bf16``; "" for the model as it is.
        capabilities: what it can answer.
        score_kind: what its scores are.
        geometry: its canonical input, `InputSpec.as_dict`.
        fingerprint: digests by field, or None.
        unidentified: why there is no fingerprint, "" where there is one.
        numerics: what moves floats.
        decision: how a binary score becomes a decision.
        diagnostics: plain facts for the audits.
        remote: whether it is asked over a network.
        intensive: whether it may be asked far more often than once a sample and point.
        parameters: their number, where the model has such.
        card: what the spec says of it: authors, licence, trained_on, ...
        group: the recipe: what models that differ by training seed alone share; "" for none.
        seed: of the training; None where it is not known.
        repeat: how often a plain pass asks about each sample.
    """

    name: str
    uri: str
    variant: str = ""
    capabilities: frozenset[Capability]
    score_kind: ScoreKind
    geometry: Mapping[str, Any]
    fingerprint: Mapping[str, str] | None
    unidentified: str = ""
    numerics: Mapping[str, str] = field(default_factory=dict)
    decision: Decision = field(default_factory=Decision)
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    remote: bool = False
    intensive: bool = True
    parameters: int | None = None
    card: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    seed: int | None = None
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.score_kind not in (kinds := get_args(ScoreKind)):
            raise InputError(unknown("kind of scores", self.score_kind, kinds))

    @property
    def noise(self) -> float:
        """How far two answers to a sample may lie apart for float reasons alone, e.g. as another
        batch is computed by another kernel; relative to the larger of the score and 1.
        """
        return _NOISE.get(self.variant, _FLOAT32)

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as it is stored."""
        return {
            **self.__dict__,
            "capabilities": sorted(str(entry) for entry in self.capabilities),
            "geometry": dict(self.geometry),
            "fingerprint": None if self.fingerprint is None else dict(self.fingerprint),
            "numerics": dict(self.numerics),
            "decision": dict(self.decision.__dict__),
            "diagnostics": dict(self.diagnostics),
            "card": dict(self.card),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelInfo:
        """The inverse of `as_dict`."""
        return cls(
            **{
                **data,
                "capabilities": frozenset(Capability(entry) for entry in data["capabilities"]),
                "decision": Decision(**data["decision"]),
            }
        )


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How numbers are made of records; part of every metric row's comparison key."""

    seed: int = 0
    level: float = 0.95
    replicates: int = 2000
    min_group_size: int = 30


@dataclass(frozen=True, kw_only=True)
class CellEvidence:
    """One collected cell, as evidence.

    Attributes:
        cell: its id.
        model: whose cell it is.
        role: the role whose samples the records are of.
        records: what happened.
        samples: the sample table of the cell's ids, rows in canonical order.
        probes: probe records by name.
        facts: plain data that the scenario left with the cell.
        artifacts: what the scenario kept beside the records, by name: for `Mapped.select` and
            `Mapped.recheck` alone. A run that is scored again, or packed, need not have them.
        askings: of a pass that asked about each sample several times, the records of each time;
            `records` are then the first of them. Empty where it asked once.
    """

    cell: str
    model: ModelInfo
    role: str
    records: Records
    samples: Samples
    probes: Mapping[str, Records] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, Records] = field(default_factory=dict)
    askings: tuple[Records, ...] = ()

    def by_asking(self) -> CellEvidence:
        """Returns a pass with the records of each asking apart."""
        if self.model.repeat == 1 or not len(self.records):
            return self
        askings = tuple(self.records.of_draw(draw) for draw in range(self.model.repeat))
        return replace(self, records=askings[0], askings=askings)

    def asking(self, number: int) -> CellEvidence:
        """Returns a pass as one asking left it; what asked once is the same in each."""
        if not self.askings:
            return self
        return replace(self, records=self.askings[number % len(self.askings)], askings=())

    @cached_property
    def unsteady(self) -> NDArray[np.bool_]:
        """Which samples got another answer in a later asking, beyond float noise, shape (n,)."""
        found = np.zeros(len(self.samples), dtype=np.bool_)
        tables = [one.aligned(self.samples.ids).table for one in self.askings]
        for again in tables[1:]:
            for name in set(again.column_names) - set(KEYS):
                was, now = (from_arrow(table.column(name)) for table in (tables[0], again))
                found |= moved_rows(was, now, self.model.noise)
        return found

    @cached_property
    def shared(self) -> dict[Hashable, Any]:
        """What several numbers and audits make of this cell, by name; filled by them."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a scenario's `score` and `audit` see.

    Attributes:
        own: the cell itself; a Derived cell without records of its own has none in it.
        needs: the cells it needs, by alias; an optional one that is not there is absent.
        data: the data card.
        options: seed, level, replicates.
    """

    own: CellEvidence
    needs: Mapping[str, CellEvidence]
    data: DataCard
    options: ScoringOptions
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls, own: CellEvidence, needs: Mapping[str, CellEvidence], data: DataCard,
        options: ScoringOptions,
    ) -> Evidence:  # fmt: skip
        """Returns evidence whose model decides as it does on `DECISION`, where that is needed."""
        chosen = needs.get(DECISION)
        if chosen is None:
            return cls(own=own, needs=needs, data=data, options=options)
        decision = data.task.definition.decided(chosen, data.task)

        def decided(part: CellEvidence) -> CellEvidence:
            if part.model.name != chosen.model.name:
                return part
            return replace(part, model=replace(part.model, decision=decision))

        rest = {alias: decided(part) for alias, part in needs.items() if alias != DECISION}
        return cls(own=decided(own), needs=rest, data=data, options=options)

    @property
    def task(self) -> Task:
        """What the data set asks."""
        return self.data.task

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Returns what `make` does, made once: for what `score` and `audit` both need."""
        if key not in self._made:
            self._made[key] = make()
        found: T = self._made[key]
        return found


class Scored(NamedTuple):
    """What `score` returns.

    Attributes:
        rows: the numbers.
        tables: data behind plots and long tables, by name; report sections refer to them.
    """

    rows: list[Row]
    tables: dict[str, pd.DataFrame] = {}  # noqa: RUF012 - a NamedTuple's default is never mutated


@dataclass(frozen=True)
class OutcomeView:
    """The uniform view of a cell's records that bias, compare and gate read; no other is known.

    Attributes:
        ids: sample ids, shape (rows,).
        point: the point of each row.
        prediction: class index, or value, shape (rows,).
        score: the probability of the positive class (binary) or of the predicted one; the value
            for regression; NaN where the model gives labels alone.
        correct: 1.0 or 0.0; NaN for regression.
    """

    ids: NDArray[np.object_]
    point: NDArray[np.object_]
    prediction: NDArray[Any]
    score: NDArray[np.float64]
    correct: NDArray[np.float64]


Findings = list[Finding]
