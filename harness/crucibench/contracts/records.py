"""Records: what happened to one sample (or one query) at one point of one cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.lists import Lists, from_arrow, to_arrow
from crucibench.util.names import Names

Columns = Mapping[str, Any]
"""Columns of records by name: ``id``, ``point`` and the scenario's own; a 2-D array is a vector
column, and `Lists` a column of lists of any length. A column may be a NumPy array, `Lists`, a
sequence of str, or (for ``point``) one str for all.

A scenario that asks each sample several times adds ``draw``, integers from 0: which asking a row
is of. Others don't have the column."""

KEYS = ("id", "point", "draw")
"""What names a row of records, as far as a table has the columns."""


BLOCK_ROWS = 1 << 14
"""Most rows of a block of records."""


def to_table(columns: Columns) -> pa.Table:
    """Returns columns as an Arrow table, vector columns as fixed-size lists.

    Raises:
        ValueError: if there is no ``id``, the lengths differ, or ``draw`` holds anything but
            integers from 0, each once for a sample and point.
    """
    if "id" not in columns:
        raise ValueError(f"records: expected a column 'id', got {sorted(columns)}")
    rows = len(columns["id"])
    arrays: dict[str, pa.Array] = {}
    for name, values in {"point": "", **columns}.items():
        array = _to_array([values] * rows if isinstance(values, str) else values)
        if len(array) != rows:
            raise ValueError(f"records: column {name!r}: expected {rows} rows, got {len(array)}")
        arrays[name] = array
    if "draw" in arrays:
        arrays["draw"] = _to_draws(arrays["draw"])
    names = ["id", "point", *sorted(set(arrays) - {"id", "point"})]
    table = pa.table({name: arrays[name] for name in names})
    if "draw" in arrays and repeated_keys(table).any():
        raise ValueError("records: a sample has two of one draw at one point")
    return table


def repeated_keys(table: pa.Table) -> NDArray[np.bool_]:
    """Returns which rows have the sample, point and draw of a row before them, shape (rows,)."""
    keys = table.select([name for name in KEYS if name in table.column_names]).to_pandas()
    return np.asarray(keys.duplicated())


class Records:
    """A cell's records, read-only."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @property
    def table(self) -> pa.Table:
        """All of them, as an Arrow table."""
        return self._table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __contains__(self, name: str) -> bool:
        return name in self.table.column_names

    @property
    def ids(self) -> NDArray[np.object_]:
        """The sample ids, shape (rows,)."""
        return self.array("id")

    def array(self, name: str) -> NDArray[Any]:
        """Returns a column: shape (rows,), or (rows, k) for a vector column.

        Raises:
            KeyError: if there is no such column.
            ValueError: if it holds lists of any length.
        """
        found = from_arrow(self.table.column(name))
        if isinstance(found, Lists):
            message = f"records: column {name!r} holds lists: read it by lists()"
            raise ValueError(message)  # noqa: TRY004 - of the data, not of the call
        return found

    def lists(self, name: str) -> Lists:
        """Returns a column of lists of any length.

        Raises:
            KeyError: if there is no such column.
            ValueError: if it holds no lists.
        """
        found = from_arrow(self.table.column(name))
        if not isinstance(found, Lists):
            message = f"records: column {name!r} holds no lists"
            raise ValueError(message)  # noqa: TRY004 - of the data, not of the call
        return found

    def blocks(self, *names: str) -> Iterator[Records]:
        """Yields some columns in blocks of at most `BLOCK_ROWS` rows, in the order of the rows.

        Records on disk are read file by file: what a pass holds of a million samples need not fit
        into memory.

        Raises:
            KeyError: if there is no such column.
        """
        table = self.table.select(list(names))
        for start in range(0, table.num_rows, BLOCK_ROWS):
            yield Records(table.slice(start, BLOCK_ROWS))

    def at(self, point: str, draw: int | None = None) -> Records:
        """Returns the records of one point, of all its draws or of one."""
        chosen = pc.equal(self.table.column("point"), point)
        if draw is not None:
            chosen = pc.and_(chosen, pc.equal(self.table.column("draw"), draw))
        return Records(self.table.filter(chosen))

    def of_draw(self, draw: int = 0) -> Records:
        """Returns the records of one draw, without saying so; all, where there is one alone."""
        if "draw" not in self:
            return self
        chosen = self.table.filter(pc.equal(self.table.column("draw"), draw))
        return Records(chosen.drop_columns(["draw"]))

    @property
    def points(self) -> tuple[str, ...]:
        """The points that occur, in order of appearance."""
        return tuple(self.table.column("point").unique().to_pylist())

    def aligned(self, ids: NDArray[np.object_] | Names) -> Records:
        """Returns the records in the order of `ids`, each of which must occur exactly once.

        Raises:
            ValueError: if an id is missing or occurs twice.
        """
        names = ids if isinstance(ids, Names) else Names(ids)
        if self.table.column("id").cast(pa.string()).equals(names.column):
            return self
        index = pd.Index(self.ids)
        if not index.is_unique:
            raise ValueError(
                "records: expected each id once; pick a point first, and one of several draws"
            )
        positions = index.get_indexer(pd.Index(names.array))
        missing = int((positions < 0).sum())
        if missing:
            raise ValueError(f"records: {missing} of {len(ids)} ids have no record")
        return Records(self.table.take(pa.array(positions)))

    def frame(self) -> pd.DataFrame:
        """Returns a DataFrame; vector columns hold lists."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame


def _to_draws(array: pa.Array) -> pa.Array:
    if len(array) and not (pa.types.is_integer(array.type) and pc.min(array).as_py() >= 0):
        raise ValueError("records: column 'draw': expected integers from 0")
    return array.cast(pa.int32())


def _to_array(values: Any) -> pa.Array:
    if isinstance(values, Sequence) and not len(values):
        return pa.array([], pa.string())
    return to_arrow(values)
