"""Collect: the only stage that questions a model. Shard by shard, each kept once it is written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Records, to_table
from crucibench.contracts.scenario import MapContext, Mapped, Selection, StageView, Work
from crucibench.engine.listener import Listener
from crucibench.engine.pass_probes import PROBE_SAMPLES, answer
from crucibench.engine.passes import best_answer
from crucibench.engine.plan import PlannedCell
from crucibench.engine.roles import Rows, SelectedRole, batches, probe_rows
from crucibench.store.cells import StageFile
from crucibench.store.layout import Layout
from crucibench.store.tables import read_table, write_table
from crucibench.util.draws import Draws
from crucibench.util.errors import CrucibenchError, UnreadableError

MODEL_CHANGED = "model-changed"
"""The code of the finding that a `ModelChangedError` becomes."""

_SAME_MODEL_SAMPLES = 16


class ModelChangedError(CrucibenchError):
    """A model that has no fingerprint answers its probe batch in another way than before."""


class CellTimeoutError(CrucibenchError):
    """A cell took longer than it may."""


@dataclass(frozen=True)
class Collected:
    """What collecting left, apart from the records.

    Attributes:
        stages: what was asked in each stage.
        probes: the names of the probe records.
        seconds: spent now; a resumed cell spends less.
    """

    stages: list[StageFile]
    probes: list[str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Collector:
    """Collects one Mapped cell; what is on disk already is not asked again.

    Attributes:
        deadline: by `time.perf_counter`; looked at after every batch.
    """

    layout: Layout
    cell: PlannedCell
    adapter: Adapter
    role: SelectedRole
    needs: Callable[[], Mapping[str, CellEvidence]]
    seed: int
    deadline: float
    listener: Listener

    def collect(self) -> Collected:
        """Runs what is missing of the cell."""
        begun = time.perf_counter()
        scenario = self._scenario
        self.layout.cell(self.cell.id).mkdir(parents=True, exist_ok=True)
        context = MapContext(
            adapter=self.adapter,
            draws=Draws(self.seed, scenario.stream),
            outputs=self.cell.outputs or best_answer(self.cell.data.task, self.cell.model),
        )
        probes = self._probe(context)
        stages = [self._stage(number, name, context) for number, name in enumerate(scenario.stages)]
        return Collected(stages, probes, time.perf_counter() - begun)

    @property
    def _scenario(self) -> Mapped:
        scenario = self.cell.scenario
        if not isinstance(scenario, Mapped):
            raise TypeError(f"{scenario.address} is not a Mapped scenario")
        return scenario

    def _probe(self, context: MapContext) -> list[str]:
        # Written one by one and listed by the last: a killed probe is made again, whole.
        done = self.layout.cell(self.cell.id) / ".probes-done"
        if done.is_file():
            return done.read_text(encoding="utf-8").split("\n")[:-1]
        rows = probe_rows(len(self.role), PROBE_SAMPLES)
        found = self._scenario.probe(self._work(rows, {}), context)
        for name, columns in found.items():
            write_table(self.layout.probe(self.cell.id, name), to_table(columns))
        done.write_text("".join(f"{name}\n" for name in sorted(found)), encoding="utf-8")
        return sorted(found)

    def _stage(self, number: int, name: str, context: MapContext) -> StageFile:
        selection = self._scenario.select(name, lambda: self._view(number))
        rows: Rows = range(len(self.role))
        carry: Mapping[str, NDArray[np.generic]] = {}
        if selection is not None:
            rows, carry = _selected(selection, len(self.role), name)
        size = self.cell.shard_size
        shards = -(-len(rows) // size)
        for shard in range(shards):
            part = rows[shard * size : (shard + 1) * size]
            path = self.layout.shard(self.cell.id, number, shard)
            if not _whole(path):
                self._same_model(context)
                write_table(path, self._shard(name, part, carry, context))
            else:
                self.listener.advanced(self.cell, len(part))
        return StageFile(name=name, samples=len(rows), shards=shards)

    def _shard(
        self,
        name: str,
        rows: Rows,
        carry: Mapping[str, NDArray[np.generic]],
        context: MapContext,
    ) -> pa.Table:
        tables = []
        for part in batches(rows, self.cell.batch_size):
            work = self._work(part, carry)
            tables.append(to_table(self._scenario.run(name, work, context)))
            self.listener.advanced(self.cell, len(part))
            if time.perf_counter() > self.deadline:
                raise CellTimeoutError(
                    "the cell took longer than its timeout; what it collected is kept, and the "
                    "same command goes on from there"
                )
        schema = tables[0].schema
        for table in tables:
            if table.schema != schema:
                raise ValueError(
                    f"{self.cell.scenario.address}: a batch's records differ in columns or types: "
                    f"{table.schema.names} after {schema.names}"
                )
        return pa.concat_tables(tables).combine_chunks()

    def _work(self, rows: Rows, carry: Mapping[str, NDArray[np.generic]]) -> Work:
        batch = self.role.batch(rows, self.adapter.input_spec)
        picked = np.asarray(rows) if carry else rows
        return Work(
            batch, self.role.slice(rows), {key: value[picked] for key, value in carry.items()}
        )

    def _view(self, number: int) -> StageView:
        earlier: dict[str, Records] = {}
        for before in range(number):
            paths = sorted(self.layout.cell(self.cell.id).glob(f"records-{before:02d}-*.parquet"))
            if paths:
                tables = [read_table(path) for path in paths]
                earlier[self._scenario.stages[before]] = Records(pa.concat_tables(tables))
        return StageView(self.role.samples(), self.needs(), earlier)

    def _same_model(self, context: MapContext) -> None:
        """Rule 5: a model without a fingerprint must answer a fixed batch as it first did."""
        if self.cell.model.fingerprint is not None:
            return
        rows = probe_rows(len(self.role), _SAME_MODEL_SAMPLES)
        batch = self.role.batch(rows, self.adapter.input_spec)
        answers = answer(
            self.adapter.predict(batch, best_answer(self.adapter.task, self.cell.model))
        )
        path = self.layout.cell(self.cell.id) / "probes-same-model.parquet"
        if not path.is_file():
            write_table(path, to_table({"id": list(batch.ids), "answer": answers}))
            return
        before = Records(read_table(path)).array("answer")
        tolerance = 1e-4 * np.maximum(1.0, np.abs(before))
        if before.shape != answers.shape or bool((np.abs(before - answers) > tolerance).any()):
            raise ModelChangedError(
                "the model has no fingerprint and answers its probe batch in another way than at "
                "the start of the cell: it was changed, or it is random"
            )


def _selected(
    selection: Selection, count: int, stage: str
) -> tuple[NDArray[np.int64], Mapping[str, NDArray[np.generic]]]:
    if selection.keep.shape != (count,):
        raise ValueError(
            f"stage {stage!r}: expected a choice of shape ({count},), got {selection.keep.shape}"
        )
    return np.flatnonzero(selection.keep), selection.carry


def _whole(path: object) -> bool:
    """Whether a shard is there and readable; a damaged one is made again."""
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException, UnreadableError):
        return False
    return True
