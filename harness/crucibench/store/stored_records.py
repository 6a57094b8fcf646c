"""Records that stay on disk until they are asked for, and are then read but once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists
from crucibench.contracts.records import BLOCK_ROWS, Records
from crucibench.store.tables import read_table
from crucibench.util.names import Names

Stamp: TypeAlias = tuple[tuple[str, int, int], ...]
"""Path, time of the last change in ns, and size of each file."""

_SMALL = 1 << 26
"""Files of up to 64 MiB together are read once and kept."""

_HELD = 1 << 27
"""Files of up to 128 MiB together are held by `RecentRecords`."""


class StoredRecords(Records):
    """The records of some Parquet files.

    Small ones are read once, when they are first asked for. Of large ones, as of a pass with
    features over a million samples, `array` reads one column, and `blocks` one file at a time.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        """Takes the files in the order of their rows; at least one."""
        self._paths = tuple(paths)

    @property
    def table(self) -> pa.Table:
        """All of them; kept, however large."""
        return self._whole

    @cached_property
    def _whole(self) -> pa.Table:
        table = self._read(None)
        # Columns and blocks of one chunk are views; of a large table there is no room for a copy.
        return table.combine_chunks() if self.small else table

    def aligned(self, ids: NDArray[np.object_] | Names) -> Records:
        """Returns what `Records.aligned` does; names that are equal stand in memory once."""
        found = super().aligned(ids)
        if found is self and isinstance(ids, Names):
            place = self._whole.column_names.index("id")
            self._whole = self._whole.set_column(place, "id", ids.column)
        return found

    @cached_property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(path.stat().st_size for path in self._paths)

    @property
    def small(self) -> bool:
        """Whether they are read once and kept."""
        return self.size <= _SMALL

    def stamp(self) -> Stamp:
        """Returns what changes when a file does."""
        facts = [(path, path.stat()) for path in self._paths]
        return tuple((str(path), fact.st_mtime_ns, fact.st_size) for path, fact in facts)

    @property
    def _apart(self) -> bool:
        return "_whole" not in self.__dict__ and not self.small

    def _read(self, columns: Sequence[str] | None) -> pa.Table:
        tables = [read_table(path, columns) for path in self._paths]
        return pa.concat_tables(tables, promote_options="default")

    @cached_property
    def _names(self) -> list[str]:
        names: list[str] = pq.read_schema(self._paths[0]).names
        return names

    def __len__(self) -> int:
        if not self._apart:
            return super().__len__()
        return sum(int(pq.read_metadata(path).num_rows) for path in self._paths)

    def __contains__(self, name: str) -> bool:
        return name in self._names if self._apart else super().__contains__(name)

    def array(self, name: str) -> NDArray[Any]:
        """Returns a column; see `Records.array`."""
        if not self._apart:
            return super().array(name)
        self._check((name,))
        return Records(self._read([name])).array(name)

    def lists(self, name: str) -> Lists:
        """Returns a column of lists; see `Records.lists`."""
        if not self._apart:
            return super().lists(name)
        self._check((name,))
        return Records(self._read([name])).lists(name)

    def blocks(self, *names: str) -> Iterator[Records]:
        """Yields some columns in blocks, one file in memory at a time; see `Records.blocks`."""
        if not self._apart:
            yield from super().blocks(*names)
            return
        self._check(names)
        for path in self._paths:
            table = read_table(path, list(names))
            for start in range(0, table.num_rows, BLOCK_ROWS):
                yield Records(table.slice(start, BLOCK_ROWS))

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._names:
                raise KeyError(name)


@final
class RecentRecords:
    """Holds the records that were asked for last, as long as their files stay as they are.

    What reads a file in blocks reads it anew: only what `StoredRecords` keeps is held.
    """

    def __init__(self) -> None:
        self._held: dict[Stamp, StoredRecords] = {}

    def records(self, records: Records) -> Records:
        """Returns these records, or equal ones that may have been read already."""
        if not isinstance(records, StoredRecords) or not records.small:
            return records
        stamp = records.stamp()
        found = self._held.pop(stamp, records)
        self._held[stamp] = found
        while len(self._held) > 1 and sum(one.size for one in self._held.values()) > _HELD:
            self._held.pop(next(iter(self._held)))
        return found
