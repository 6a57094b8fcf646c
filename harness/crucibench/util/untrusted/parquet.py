"""Parquet files of others: what they would take in memory, before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crucibench.util.text import first_line
from crucibench.util.untrusted.archive import require_ratio
from crucibench.util.untrusted.content import RefusedError

_ROWS = 65_536


def require_bounded(path: Path, name: str) -> None:
    """Checks that a file does not become far more in memory than it is on disk.

    What is stored once and named many times, such as a long text in all rows, is measured by its
    dictionary and never made.

    Args:
        path: of the file.
        name: names it in an error.

    Raises:
        RefusedError: if it does, or can't be read.
    """
    stored = path.stat().st_size
    try:
        with pq.ParquetFile(path) as file:
            chunks = [
                file.metadata.row_group(group).column(column)
                for group in range(file.metadata.num_row_groups)
                for column in range(file.metadata.num_columns)
            ]
            lengths = [max(8, file.schema.column(at).length) for at in range(len(file.schema))]
        texts = {one.path_in_schema for one in chunks if one.physical_type == "BYTE_ARRAY"}
        size = sum(
            max(one.total_uncompressed_size, one.num_values * lengths[at % len(lengths)])
            for at, one in enumerate(chunks)
        )
        require_ratio(name, "", stored, size)
        with pq.ParquetFile(path, read_dictionary=sorted(texts)) as file:
            for batch in file.iter_batches(_ROWS, columns=sorted(texts)) if texts else ():
                size += sum(map(_text_bytes, batch.columns))
                require_ratio(name, "", stored, size)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RefusedError(name, "a Parquet file", first_line(error)) from error


def _text_bytes(column: Any) -> int:
    """Returns how many bytes the texts of a column have, those in lists too."""
    while pa.types.is_nested(column.type) and not pa.types.is_struct(column.type):
        column = column.flatten()
    if pa.types.is_struct(column.type):
        return sum(map(_text_bytes, column.flatten()))
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return pc.sum(lengths.take(column.indices)).as_py() or 0
