"""Parquet files: written atomically and with the same bytes for the same content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crucibench.contracts.data import Samples
from crucibench.contracts.rows import COLUMNS
from crucibench.util.atomic import write_atomically
from crucibench.util.errors import UnreadableError

_GROUP = "group:"

METRICS_SCHEMA = pa.schema(
    [
        (name, pa.int64() if name == "n" else pa.float64())
        if name in {"value", "lower", "upper", "level", "n"}
        else (name, pa.string())
        for name in COLUMNS
    ]
)


def write_table(path: Path, table: pa.Table) -> None:
    """Writes an Arrow table: zstd, no pandas metadata, no time in it."""
    clean = table.replace_schema_metadata(None)
    write_atomically(path, lambda temporary: pq.write_table(clean, temporary, compression="zstd"))


def read_table(path: Path) -> pa.Table:
    """Reads a Parquet file.

    Raises:
        UnreadableError: if it is missing or damaged.
    """
    try:
        return pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        first = str(error).splitlines()[0]
        raise UnreadableError(f"{str(path)!r} can't be read: {first}") from error


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Writes a DataFrame without its index."""
    write_table(path, pa.Table.from_pandas(frame, preserve_index=False))


def read_frame(path: Path) -> pd.DataFrame:
    """Reads a Parquet file as a DataFrame."""
    frame: pd.DataFrame = read_table(path).to_pandas()
    return frame


def write_blocks(path: Path, blocks: Iterable[pa.Table]) -> None:
    """Writes a table that never stands in memory whole."""

    def write(temporary: Path) -> None:
        writer: pq.ParquetWriter | None = None
        try:
            for block in blocks:
                if writer is None:
                    writer = pq.ParquetWriter(temporary, block.schema, compression="zstd")
                writer.write_table(block)
        finally:
            if writer is not None:
                writer.close()

    write_atomically(path, write)


def samples_to_table(samples: Samples) -> pa.Table:
    """Returns a sample table in its stored form: id, target, key, cluster, ``group:NAME``."""
    columns: dict[str, Any] = {"id": pa.array(samples.ids, pa.string())}
    columns["target"] = pa.array(samples.targets)
    if samples.keys is not None:
        columns["key"] = pa.array(samples.keys, pa.string())
    if samples.clusters is not None:
        columns["cluster"] = pa.array(samples.clusters, pa.string())
    for name in samples.groups.columns:
        columns[f"{_GROUP}{name}"] = pa.array(samples.groups[name].astype(object), pa.string())
    return pa.table(columns)


def table_to_samples(table: pa.Table) -> Samples:
    """The inverse of `samples_to_table`."""

    def strings(name: str) -> np.ndarray[Any, np.dtype[np.object_]] | None:
        if name not in table.column_names:
            return None
        return np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=object)

    groups = {
        name.removeprefix(_GROUP): table.column(name).to_pylist()
        for name in table.column_names
        if name.startswith(_GROUP)
    }
    ids = strings("id")
    if ids is None:
        raise UnreadableError("a sample table has no column 'id'")
    return Samples(
        ids=ids,
        targets=table.column("target").to_numpy(zero_copy_only=False),
        groups=pd.DataFrame(groups, index=range(len(ids)), dtype=object),
        clusters=strings("cluster"),
        keys=strings("key"),
    )


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns metric rows as a table of the fixed schema."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=METRICS_SCHEMA)
