"""Parquet files: written atomically and with the same bytes for the same content.

Parquet's own checksums cover the content of pages, not their headers and not the footer, which has
names, types and row counts. So a file also states, among its footer's metadata, the SHA-256 of all
its bytes, taken with zeros in that place: a flipped byte is an error, never another table.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crucibench.contracts.data import Samples
from crucibench.contracts.lists import few_strings, from_arrow, to_arrow
from crucibench.contracts.rows import COLUMNS
from crucibench.util import doors
from crucibench.util.atomic import write_atomically
from crucibench.util.errors import UnreadableError
from crucibench.util.names import Names
from crucibench.util.text import first_line

_GROUP = "group:"
_KEY = b"crucibench"
_STATED = re.compile(rb"all but these 64: ([0-9a-f]{64})")
_ZEROS = b"0" * 64
_SMALL = 1 << 20
_UNSEALED = {_KEY: b"sha256 of all but these 64: " + _ZEROS}

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
    write_blocks(path, [table])


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file, or some columns of it.

    Raises:
        UnreadableError: if it is missing or damaged.
    """
    try:
        content = path.read_bytes()
        _check_seal(content)
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            # For small files, threads take longer to start than to read.
            table = file.read(columns, use_threads=len(content) > _SMALL)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UnreadableError(f"{str(path)!r} can't be read: {first_line(error)}") from error
    return table.replace_schema_metadata(None)


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
        with doors.open_file(temporary, "wb") as stream:
            try:
                for block in blocks:
                    clean = block.replace_schema_metadata(None)
                    if writer is None:
                        writer = pq.ParquetWriter(
                            stream, clean.schema, compression="zstd", write_page_checksum=True,
                            use_dictionary=_repeating(clean.schema),
                        )  # fmt: skip
                    writer.write_table(clean)
                if writer is not None:
                    writer.add_key_value_metadata(_UNSEALED)
            finally:
                if writer is not None:
                    writer.close()
        _seal(temporary)

    write_atomically(path, write)


def _repeating(schema: pa.Schema) -> list[str]:
    """Returns the columns that are worth a dictionary.

    Features and scores hardly repeat, nor do the names of a sample table: a dictionary of them is
    filled, given up, and stored anyway, which takes four times as long and a third more space.
    """
    names = () if "point" in schema.names else ("id", "key")
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return [
        field.name
        for field in schema
        if field.name not in names
        and not pa.types.is_floating(field.type)
        and not any(is_list(field.type) for is_list in lists)
    ]


def samples_to_table(samples: Samples) -> pa.Table:
    """Returns a sample table in its stored form: id, target, key, cluster, ``group:NAME``."""
    columns: dict[str, Any] = {"id": samples.names.column}
    columns["target"] = to_arrow(samples.targets)
    if samples.own_names is not None:
        columns["key"] = samples.own_names.column
    if samples.clusters is not None:
        columns["cluster"] = pa.array(samples.clusters, pa.string())
    for name in samples.groups.columns:
        columns[f"{_GROUP}{name}"] = pa.array(samples.groups[name].astype(object), pa.string())
    return pa.table(columns)


def table_to_samples(table: pa.Table) -> Samples:
    """The inverse of `samples_to_table`."""

    def names(column: str) -> Names | None:
        return Names(table.column(column)) if column in table.column_names else None

    groups = {
        name.removeprefix(_GROUP): few_strings(table.column(name))
        for name in table.column_names
        if name.startswith(_GROUP)
    }
    ids, clusters = names("id"), names("cluster")
    if ids is None:
        raise UnreadableError("a sample table has no column 'id'")
    return Samples(
        ids=ids,
        targets=from_arrow(table.column("target")),
        groups=pd.DataFrame(groups, index=range(len(ids)), dtype=object),
        clusters=None if clusters is None else clusters.array,
        keys=names("key"),
    )


def rows_to_table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Returns metric rows as a table of the fixed schema."""
    return pa.Table.from_pylist([dict(row) for row in rows], schema=METRICS_SCHEMA)


def _seal(path: Path) -> None:
    """Writes the digest of all bytes where they are still zeros."""
    with doors.open_file(path, "rb+") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest().encode()
        stream.seek(-8, os.SEEK_END)
        footer = int.from_bytes(stream.read(4), "little")
        start = stream.seek(-8 - footer, os.SEEK_END)
        place = _STATED.search(stream.read(footer))
        if place is None:
            raise AssertionError("the footer was written with its metadata")
        stream.seek(start + place.start(1))
        stream.write(digest)


def _check_seal(content: bytes) -> None:
    footer = int.from_bytes(content[-8:-4], "little")
    place = _STATED.search(content, max(0, len(content) - 8 - footer))
    if place is None:
        return  # another program's file
    digest, bytes_of = hashlib.sha256(), memoryview(content)
    for part in (bytes_of[: place.start(1)], _ZEROS, bytes_of[place.end(1) :]):
        digest.update(part)
    if digest.hexdigest().encode() != place[1]:
        raise ValueError("its content has changed since it was written")
