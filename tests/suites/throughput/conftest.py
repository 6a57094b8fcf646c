"""A clock that moves only when told, and models whose latency is a known function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from crucibench.contracts.adapter import Adapter, Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability, InputSpec
from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.evidence import CellEvidence, Evidence, ModelInfo, ScoringOptions
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import FreshStart, TimedContext
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.verdict import Finding
from crucibench.metrics.scoring import score
from crucibench.util.draws import Draws
from crucibench_suites.throughput.scenarios import Timing

Latency = Callable[[int, Batch], float]
"""Seconds of the n-th call, from its number and batch."""


class ScriptedClock:
    """Time that passes when a model is asked, and a little when it is read."""

    def __init__(self, reading_ns: int = 50, others: float = 0.0) -> None:
        self.instant = 0
        self.reading = reading_ns
        self.others = others
        self.background = 0.0
        self.used = 0.0

    def now(self) -> int:
        self.instant += self.reading
        return self.instant

    def until(self, instant: int) -> None:
        if instant > self.instant:
            self.used += self.background * (instant - self.instant) * 1e-9
            self.instant = instant

    def work(self, seconds: float) -> None:
        self.instant += round(seconds * 1e9)
        self.used += seconds

    def cpu(self) -> float:
        return self.used

    def machine(self) -> float | None:
        return self.used + self.others * self.instant * 1e-9


class Scripted(Adapter):
    """Answers a table by the sign of its first column, in a scripted time."""

    def __init__(self, clock: ScriptedClock, latency: Latency) -> None:
        self.clock = clock
        self.latency = latency
        self.calls = 0
        self.known: dict[int, tuple[Batch, np.ndarray]] = {}
        self.task = TASK
        self.input_spec = InputSpec(modality=Modality.TABLE)
        self.capabilities = frozenset({Capability.SCORES, Capability.ANY_INPUT})
        self.score_kind = "logits"

    @classmethod
    def open(cls, opening: Any) -> Scripted:
        raise NotImplementedError

    def answer(self, batch: Batch) -> np.ndarray:
        # The frames of a pool are asked about thousands of times: reading one takes a while.
        if id(batch) not in self.known:
            column = batch.inputs["x"].to_numpy()
            self.known[id(batch)] = (batch, np.stack([-column, column], axis=1))
        return self.known[id(batch)][1]

    def _predict(self, batch: Batch, want: frozenset[str]) -> Answer:
        self.clock.work(self.latency(self.calls, batch))
        self.calls += 1
        return Answer(scores=self.answer(batch))


TASK = Task(kind="classification", modality=Modality.TABLE, classes=("a", "b"))
N = 40


def _inputs() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"x": rng.normal(size=N), "y": rng.normal(size=N)})


IDS = tuple(f"s{row:03d}" for row in range(N))


def load(count: int) -> Batch:
    rows = np.resize(np.arange(N), count)
    return Batch(IDS, _inputs()).take(rows.tolist())


READING = 5e-4
"""Seconds that reading a sample takes."""


def read(clock: ScriptedClock) -> Callable[[Sequence[int]], Batch]:
    def anew(positions: Sequence[int]) -> Batch:
        clock.work(READING * len(positions))
        return Batch(IDS, _inputs()).take([position % N for position in positions])

    return anew


def _pass(adapter: Scripted) -> CellEvidence:
    """What an accuracy pass of an honest model records."""
    scores = Scripted.answer(adapter, Batch(IDS, _inputs())).astype(np.float32)
    table = to_table(
        {"id": list(IDS), "prediction": scores.argmax(axis=1).astype(np.int32), "scores": scores}
    )
    return CellEvidence(
        cell="pass-test", model=MODEL, role="test", records=Records(table),
        samples=Samples(np.array(IDS, dtype=object), np.zeros(N, np.int64), pd.DataFrame()),
    )  # fmt: skip


MODEL = ModelInfo(
    name="model", uri="test:model", capabilities=frozenset({Capability.SCORES}),
    score_kind="logits", geometry={}, fingerprint=None,
)  # fmt: skip


class Timings:
    """A scenario run on a scripted model: its evidence, rows and findings."""

    def __init__(self, scenario: Timing, adapter: Scripted, tables: Sequence[pa.Table]) -> None:
        self.scenario = scenario
        parts = [
            table.append_column("round", pa.array([number] * table.num_rows))
            for number, table in enumerate(tables)
        ]
        clean = _pass(adapter)
        own = replace(clean, cell="own", records=Records(pa.concat_tables(parts).combine_chunks()))
        self.evidence = Evidence(
            own=own, needs={"clean": clean},
            data=DataCard(name="d", uri="test:d", task=TASK, counts={"test": N}),
            options=ScoringOptions(),
        )  # fmt: skip

    @property
    def rows(self) -> dict[tuple[str, str], Row]:
        rows = score(self.scenario, self.evidence).rows
        found = {(row.metric, row.point): row for row in rows}
        assert len(found) == len(rows)
        assert {row.metric for row in rows} <= {info.id for info in self.scenario.metrics}
        assert {row.point for row in rows} <= set(self.scenario.points)
        return found

    @property
    def findings(self) -> dict[str, Finding]:
        return {finding.code: finding for finding in self.scenario.audit(self.evidence)}


Measure = Callable[..., Timings]


@pytest.fixture(scope="session")
def measure() -> Measure:
    """Runs a scenario on a scripted model."""

    def run(
        scenario: Timing,
        latency: Latency | float = 1e-3,
        *,
        clock: ScriptedClock | None = None,
        adapter: Callable[[ScriptedClock, Latency], Scripted] = Scripted,
        start: Callable[[Batch, int], FreshStart] | None = None,
    ) -> Timings:
        clock = clock or ScriptedClock()
        constant = latency
        script = latency if callable(latency) else lambda call, batch: constant
        model = adapter(clock, script)
        context = TimedContext(model, Draws(0, scenario.stream), load, read(clock), start)
        tables = [to_table(columns) for columns in scenario.measure(context, clock)]
        return Timings(scenario, model, tables)

    return run


@pytest.fixture
def clock() -> Iterator[ScriptedClock]:
    yield ScriptedClock()
