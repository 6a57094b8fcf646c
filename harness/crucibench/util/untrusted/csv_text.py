"""The beginning of a CSV file of others: its header, and as many rows as fit in some bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from crucibench.util.text import first_line
from crucibench.util.untrusted.content import RefusedError

COLUMNS_AT_MOST = 100_000
HEADER_AT_MOST = 8 << 20
"""Bytes of the first line."""


def beginning(path: Path, name: str, most: int = HEADER_AT_MOST) -> bytes:
    """Returns the first whole lines of a file, unpacked where it is compressed.

    Args:
        path: of the file; ``.gz``, ``.bz2``, ``.zst`` and the like are unpacked.
        name: names it in an error.
        most: how many bytes are read.

    Raises:
        RefusedError: if it can't be read, is empty or has a longer line.
    """
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            content: bytes = stream.read(most)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RefusedError(name, "a file that can be read", first_line(error)) from error
    if not content:
        raise RefusedError(name, "a header", "an empty file")
    if len(content) == most:
        content = content[: content.rfind(b"\n") + 1]
    if not content:
        raise RefusedError(name, f"lines of at most {most:,} bytes", "a longer one")
    return content


def read_header(path: Path, name: str, delimiter: str = ",") -> list[str]:
    """Returns the names in the first line of a file.

    Raises:
        RefusedError: if there are more than `COLUMNS_AT_MOST`, one holds a NUL byte, or as
            `beginning` does.
    """
    line = beginning(path, name)
    if b"\0" in line:
        raise RefusedError(name, "CSV", "a NUL byte")
    # Rows below may be in another encoding; the header is read as far as it is text.
    text = line.decode("utf-8-sig", errors="replace")
    names = next(read_rows(text, name, delimiter), [])
    require_columns(len(names), name)
    return names


def read_rows(text: str, name: str, delimiter: str = ",") -> Iterator[list[str]]:
    """Yields the rows of a text.

    Raises:
        RefusedError: if a value is longer than the csv module allows, or a quote is left open.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        yield from reader
    except csv.Error as error:
        place = f"line {reader.line_num}"
        raise RefusedError(name, "CSV", first_line(error), place=place) from error


def require_columns(count: int, name: str) -> None:
    """Raises RefusedError if there are more than `COLUMNS_AT_MOST` columns."""
    if count > COLUMNS_AT_MOST:
        raise RefusedError(name, f"at most {COLUMNS_AT_MOST:,} columns", f"{count:,}")
