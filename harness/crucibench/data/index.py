"""The index of a data set: ids, targets, groups, clusters and the user's names, role by role.

It is made once for each content, in O(n) memory without the inputs, and then mapped from disk.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.data import Samples
from crucibench.contracts.lists import from_arrow
from crucibench.contracts.task import Task

FORMAT = 4
"""Of the index files; 1: first; 2: bad samples are counted; 3: each modality has its own form."""

BATCH = 65_536
"""Rows of every record batch of an index file but the last."""

Rows = Sequence[int] | NDArray[np.int64] | range


@dataclass(frozen=True)
class RoleIndex:
    """The index of one role, memory-mapped.

    Attributes:
        path: an Arrow file of record batches of `BATCH` rows.
        groups: the group columns' names.
    """

    path: Path
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        self._reader  # noqa: B018 - mapped now

    def samples(self) -> Samples:
        """Returns the whole sample table."""
        return self._samples(self._reader.read_all())

    def take(self, rows: Rows) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""
        return self._samples(self._table(as_rows(rows)))

    def origins(self, rows: Rows) -> NDArray[np.int64]:
        """Returns where the samples stand in the source's own data."""
        column = self._table(as_rows(rows)).column("row")
        return np.asarray(column.to_numpy(), dtype=np.int64)

    @cached_property
    def _reader(self) -> Any:
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    def _table(self, rows: NDArray[np.int64]) -> Any:
        reader = self._reader
        if not len(rows):
            return reader.schema.empty_table()
        batches, places = np.divmod(rows, BATCH)
        order = np.argsort(batches, kind="stable")
        parts = []
        for number in np.unique(batches).tolist():
            batch = reader.get_batch(number)
            within = places[order][batches[order] == number]
            parts.append(batch.take(pa.array(within)))
        table = pa.Table.from_batches(parts)
        if (order == np.arange(len(order))).all():
            return table
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return table.combine_chunks().take(pa.array(back))

    def _samples(self, table: Any) -> Samples:
        columns = [f"group_{number}" for number in range(len(self.groups))]
        groups = table.select(columns).rename_columns(list(self.groups)).to_pandas()
        return Samples(
            ids=_objects(table, "id"),
            targets=from_arrow(table.column("target")),
            groups=groups,
            clusters=_objects(table, "cluster") if "cluster" in table.column_names else None,
            keys=_objects(table, "key") if "key" in table.column_names else None,
        )


@dataclass(frozen=True)
class Index:
    """The index of a data set.

    Attributes:
        roles: by name.
        origins: the role of the source's data that each role was taken from.
        task: what the data asks.
        facts: plain data for the card and for batches: ``fingerprint``, ``ids_digest``,
            ``counts``, ``features``, ``form`` (what the modality's reader needs), ``split``,
            ``notes``, ``bad_samples`` (by role of the source's data: ``left_out``, ``of``,
            ``kinds`` and the ``first`` few; empty where all are good).
    """

    roles: Mapping[str, RoleIndex]
    origins: Mapping[str, str]
    task: Task
    facts: Mapping[str, Any]


def open_index(folder: Path) -> Index:
    """Opens what `crucibench.data.indexing` wrote.

    The files stay mapped, so that whoever clears the cache meanwhile does no harm.
    """
    facts = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    roles = {
        role: RoleIndex(folder / f"{number}.arrow", tuple(facts["groups"]))
        for number, role in enumerate(facts["counts"])
    }
    return Index(roles, facts["origins"], Task.from_dict(facts["task"]), facts)


def as_rows(rows: Rows) -> NDArray[np.int64]:
    """Returns row numbers as an array."""
    if isinstance(rows, range):
        return np.arange(rows.start, rows.stop, rows.step, dtype=np.int64)
    return np.asarray(rows, dtype=np.int64)


def _objects(table: Any, name: str) -> NDArray[np.object_]:
    return np.asarray(table.column(name).to_numpy(), dtype=object)
