"""Arrow files of plain columns, mapped from disk: importing `datasets` would take 0.4 s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_NOTED = b"huggingface"


def _plain_type(kind: Any) -> Any:
    """Returns the type in which values of a plain type are kept; None where it isn't plain.

    Plain are numbers, bools, strings, dictionaries of them (their values are kept), and arrays of
    numbers of one length.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        return kind if pa.types.is_integer(inner) or pa.types.is_floating(inner) else None
    plain = (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )  # fmt: skip
    return kind if plain else None


def plain_schema(schema: Any) -> Any:
    """Returns `schema` with dictionaries as their values; None where a column is not plain.

    What `datasets` notes of a schema (class names, images) is not plain either.
    """
    kinds = [_plain_type(field.type) for field in schema]
    if None in kinds or _NOTED in (schema.metadata or {}):
        return None
    fields = [field.with_type(kind) for field, kind in zip(schema, kinds, strict=True)]
    return pa.schema(fields, schema.metadata)


@final
class MappedTable:
    """The columns of a mapped Arrow file; answers as a `datasets.Dataset` in the format "arrow".

    Attributes:
        data: the whole as an Arrow table, whose columns stay on disk.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        """Maps the file; `columns` are those that it shows."""
        self._path = path
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            table = stream.read_all()
        self.data = table if columns is None else table.select(list(columns))
        self._batches = self.data.to_batches()
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)

    def __reduce__(self) -> tuple[type[MappedTable], tuple[Path, list[str]]]:
        return MappedTable, (self._path, self.column_names)

    @property
    def column_names(self) -> list[str]:
        """The columns, in order."""
        return list(self.data.column_names)

    @property
    def features(self) -> dict[str, Any]:
        """The Arrow type of each column."""
        return {field.name: field.type for field in self.data.schema}

    def select_columns(self, columns: Sequence[str]) -> MappedTable:
        """Returns the table of some columns."""
        return MappedTable(self._path, columns)

    def with_format(self, kind: str | None) -> MappedTable:
        """Returns the table itself: it has one format."""
        return self

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Any:
        """Returns an Arrow table of some rows, in their order."""
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            return self.data.slice(first, max(0, last - first))
        # Arrow joins all batches before it takes rows of them; only those with rows are touched.
        rows = np.asarray(rows, dtype=np.int64)
        numbers = np.searchsorted(self._ends, rows, side="right")
        order = np.argsort(numbers, kind="stable")
        pieces = []
        for number in np.unique(numbers):
            batch = self._batches[number]
            start = self._ends[number] - batch.num_rows
            pieces.append(batch.take(pa.array(rows[numbers == number] - start)))
        if not pieces:
            return self.data.slice(0, 0)
        found = pa.Table.from_batches(pieces)
        if (np.diff(order) == 1).all():
            return found
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return found.combine_chunks().take(pa.array(back))

    def iter(self, rows: int) -> Iterator[Any]:
        """Yields Arrow tables of at most `rows` rows."""
        for first in range(0, len(self), rows):
            yield self.data.slice(first, rows)
