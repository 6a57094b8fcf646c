"""Reads a run's cells for verification: what the named files hold, and nothing else."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from crucibench.contracts.data import Samples
from crucibench.contracts.evidence import CellEvidence
from crucibench.contracts.records import Records
from crucibench.data.subset import take
from crucibench.passes.scenario import SUITE as PASS
from crucibench.store.cells import CellFile
from crucibench.store.run import Run
from crucibench.store.tables import read_table
from crucibench.util.errors import UnreadableError
from crucibench.util.text import first_line

K = TypeVar("K")
V = TypeVar("V")

_KEPT = 4
_NO_RECORDS = pa.table({"id": pa.array([], pa.string())})


class EvidenceReader:
    """Reads evidence; what several cells need is kept, the last few."""

    def __init__(self, run: Run, seed: int) -> None:
        """Takes the run, and the seed that limits draw with."""
        self.run = run
        self._seed = seed
        self._samples: OrderedDict[tuple[str, str, int | None], Samples] = OrderedDict()
        self._evidence: OrderedDict[str, CellEvidence] = OrderedDict()

    def samples(self, data: str, role: str, limit: int | None) -> Samples:
        """Returns the samples that a cell with this limit is planned to ask about, in order.

        Raises:
            UnreadableError: if the sample table can't be read.
        """
        key = (data, role, limit)
        if key not in self._samples:
            table = self.run.samples(data, role)
            if limit is not None and limit < len(table):
                sizes = self.run.cards[data].class_counts.get(role) or None
                table = table.take(take(table.ids, table.targets, limit, self._seed, sizes))
            _keep(self._samples, key, table)
        self._samples.move_to_end(key)
        return self._samples[key]

    def shards(self, file: CellFile) -> list[list[Path]]:
        """Returns the record files that a cell should have, by stage and in order.

        A timed cell has one; a derived cell has one or, if its needs say it all, none.
        """
        layout = self.run.layout
        if file.kind == "mapped":
            return [
                [layout.shard(file.cell, number, shard) for shard in range(stage.shards)]
                for number, stage in enumerate(file.stages)
            ]
        only = layout.shard(file.cell, 0, 0)
        return [[only]] if file.kind == "timed" or only.is_file() else []

    def tables(self, paths: list[Path]) -> Iterator[pa.Table]:
        """Yields the record files of one stage.

        Raises:
            UnreadableError: if one is damaged, or no records.
        """
        for path in paths:
            table = read_table(path)
            for name in ("id", "point"):
                if name not in table.column_names:
                    raise UnreadableError(f"{str(path)!r} can't be read: it has no column {name!r}")
            yield table

    def evidence(self, file: CellFile) -> CellEvidence:
        """Returns one cell as evidence.

        Raises:
            UnreadableError: if a file of it can't be read.
        """
        if file.cell not in self._evidence:
            model = self.run.models.get((file.model, file.data))
            if model is None:
                raise UnreadableError(f"models.json has no {file.model!r} on {file.data!r}")
            found = CellEvidence(
                cell=file.cell,
                model=model,
                role=file.role,
                records=Records(self._records(file)),
                samples=self.samples(file.data, file.role, file.limit),
                probes={
                    name: Records(read_table(self.run.layout.probe(file.cell, name)))
                    for name in file.probes
                },
                facts=file.facts,
            )
            kept = found.by_asking() if file.suite == PASS else found
            _keep(self._evidence, file.cell, kept)
        self._evidence.move_to_end(file.cell)
        return self._evidence[file.cell]

    def _records(self, file: CellFile) -> pa.Table:
        parts = [table for stage in self.shards(file) for table in self.tables(stage)]
        try:
            return pa.concat_tables(parts, promote_options="default") if parts else _NO_RECORDS
        except pa.ArrowException as error:
            reason = first_line(error)
            raise UnreadableError(f"its record files do not fit together: {reason}") from error


def _keep(cache: OrderedDict[K, V], key: K, value: V) -> None:
    cache[key] = value
    while len(cache) > _KEPT:
        cache.popitem(last=False)
