"""Sample ids: digests of what the model is asked about, never of targets, groups or positions.

A digest is the first 16 bytes of a SHA-256, an id their 32 hexadecimal digits. It is taken of

- an encoded image: its stored bytes;
- an array: its dtype, its shape and its bytes;
- a text: the UTF-8 of each of its columns, each after its length;
- a table row: the column names, then for each column a tag of the value's type and 16 bytes:
  integers in two's complement, floats as float64 (-0.0 is 0.0), strings and binaries by their
  digest, points in time as seconds and nanoseconds; NaN is null. How Arrow stores a column
  (dictionary, chunks, bits of an integer, offsets) does not enter, and neither do other rows.

Equal contents get the suffixes ``-1``, ``-2``, ... in the order of the user's own names for them,
else of the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.data.texts import text_bytes
from crucibench.util.errors import InputError

Bytes = NDArray[np.uint8]
SIZE = 16
"""Bytes of a digest."""
CELL = 1 + SIZE
"""Bytes of an encoded cell: a tag and its payload."""

_BLOCK = 1 << 12
"""Of so many rows, the strings stay in memory that is used again for the next."""

_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def encoded_digests(contents: Iterable[bytes]) -> NDArray[np.bytes_]:
    """Returns the digest of each image's stored bytes."""
    return _digests(contents)


def array_digests(values: NDArray[Any]) -> NDArray[np.bytes_]:
    """Returns the digest of each of `values`, an array of shape (n, ...)."""
    header = f"{values.dtype.name}{list(values.shape[1:])}".encode()
    rows = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
    return _digests(header + row.tobytes() for row in rows)


def text_digests(columns: Sequence[Sequence[str]]) -> NDArray[np.bytes_]:
    """Returns the digest of each text; `columns` are equally long."""
    return _digests(
        b"".join(len(part).to_bytes(8, "little") + part for part in map(text_bytes, row))
        for row in zip(*columns, strict=True)
    )


def table_digests(table: Any, columns: Sequence[str]) -> NDArray[np.bytes_]:
    """Returns the digest of each row of an Arrow table, taken over `columns` in that order.

    Raises:
        InputError: if a column's type has no canonical form.
    """
    header = _digests([json.dumps(list(columns)).encode()]).view(np.uint8)
    cells = [np.broadcast_to(header, (table.num_rows, SIZE))]
    for name in columns:
        array = table.column(name).combine_chunks()
        try:
            cells.append(_encode(array))
        except (pa.ArrowException, TypeError):
            raise InputError(
                f"column {name!r}: values of type {array.type} can't be features"
            ) from None
    return _row_digests(np.concatenate(cells, axis=1))


def sorted_contents(
    digests: NDArray[np.bytes_],
) -> tuple[NDArray[np.intp], NDArray[np.bytes_]]:
    """Returns what sorts digests, equal ones by row, and those that differ, sorted."""
    halves = digests.view(">u8").reshape(-1, 2).astype(np.uint64)
    order = np.argsort(halves[:, 0])
    first = halves[order, 0]
    if (first[1:] == first[:-1]).any():  # equal contents, but for one pair in 2**64
        order = np.lexsort((halves[:, 1], halves[:, 0]))
    ordered = digests[order]
    first = np.ones(len(ordered), dtype=np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return order, ordered[first]


def identify(
    digests: NDArray[np.bytes_], keys: Any = None, order: NDArray[np.intp] | None = None
) -> Any:
    """Returns an id for each digest, an Arrow array; those of equal contents get an ordered suffix.

    Args:
        digests: of one role.
        keys: the user's own names, which order equal contents: an Arrow array of strings.
        order: of the digests, where it is known.
    """
    ends = np.arange(len(digests) + 1, dtype=np.int64) * (2 * SIZE)
    text = pa.py_buffer(digests.tobytes().hex().encode())
    ids = pa.LargeStringArray.from_buffers(len(digests), pa.py_buffer(ends), text)
    if order is None:
        order, _ = sorted_contents(digests)
    ordered = digests[order]
    repeats = np.flatnonzero(ordered[1:] == ordered[:-1])
    if not len(repeats):
        return ids
    names = ids.to_pylist()
    for first, last in _stretches(repeats):
        rows = order[first : last + 2].tolist()
        if keys is not None:
            rows.sort(key=lambda row: keys[row].as_py())
        for number, row in enumerate(rows[1:], start=1):
            names[row] += f"-{number}"
    return pa.array(names, pa.large_string())


def _stretches(numbers: NDArray[np.intp]) -> Iterable[tuple[int, int]]:
    """Yields the first and last of each stretch of consecutive numbers."""
    if len(numbers):
        breaks = np.flatnonzero(np.diff(numbers) > 1)
        firsts = np.concatenate([numbers[:1], numbers[breaks + 1]])
        lasts = np.concatenate([numbers[breaks], numbers[-1:]])
        yield from zip(firsts.tolist(), lasts.tolist(), strict=True)


def _digests(contents: Iterable[bytes]) -> NDArray[np.bytes_]:
    joined = b"".join([hashlib.sha256(content).digest()[:SIZE] for content in contents])
    return np.frombuffer(joined, dtype=f"S{SIZE}")


def _row_digests(cells: Bytes) -> NDArray[np.bytes_]:
    rows = np.ascontiguousarray(cells).view(f"V{cells.shape[1]}").ravel()
    blocks = range(0, max(1, len(rows)), _BLOCK)
    return np.concatenate([_digests(rows[start : start + _BLOCK].tolist()) for start in blocks])


def _encode(array: Any) -> Bytes:
    """Returns the canonical cells of an Arrow array, shape (n, CELL); a null is all zeros."""
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        return _encode(array.storage)
    if pa.types.is_dictionary(kind):
        return _encode(array.dictionary_decode())
    null = array.is_null(nan_is_null=pa.types.is_floating(kind)).to_numpy(zero_copy_only=False)
    if pa.types.is_null(kind):
        cells = np.zeros((len(array), CELL), dtype=np.uint8)
    elif pa.types.is_nested(kind):
        cells = _nested(array)
    else:
        cells = _primitive(array)
    cells[null] = 0
    return cells


def _primitive(array: Any) -> Bytes:  # noqa: PLR0911 - one line a type
    kind = array.type
    if pa.types.is_boolean(kind):
        return _numbers(b"b", pc.cast(array, pa.int64()))
    if pa.types.is_unsigned_integer(kind):
        values = _values(pc.cast(array, pa.uint64()))
        return _cells(
            b"i", values.astype(np.uint64).view(np.int64), np.zeros_like(values, np.int64)
        )
    if pa.types.is_integer(kind):
        return _numbers(b"i", pc.cast(array, pa.int64()))
    if pa.types.is_floating(kind):
        # Adding 0.0 makes 0.0 of -0.0.
        values = _values(pc.cast(array, pa.float64())).astype(np.float64) + 0.0
        return _cells(b"f", values.view(np.int64), np.zeros(len(values), dtype=np.int64))
    if pa.types.is_decimal(kind):
        return _hashed(b"m", pc.cast(array, pa.string()))
    if pa.types.is_date(kind):
        return _numbers(b"d", pc.cast(pc.cast(array, pa.date32()), pa.int32()))
    if pa.types.is_timestamp(kind):
        return _times(b"t" if kind.tz is None else b"T", array, kind.unit)
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        return _times(b"D" if pa.types.is_duration(kind) else b"c", array, kind.unit)
    # Strings and binaries, however long their offsets; a type that is neither fails in the cast.
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or str(kind) == "string_view"
    return _hashed(b"s" if text else b"y", array)


def _values(array: Any) -> NDArray[Any]:
    """Returns numbers, with 0 for null."""
    return np.asarray(pc.fill_null(array, 0).to_numpy(zero_copy_only=False))


def _numbers(tag: bytes, array: Any) -> Bytes:
    values = _values(array).astype(np.int64)
    return _cells(tag, values, values >> 63)


def _times(tag: bytes, array: Any, unit: str) -> Bytes:
    kind = pa.int64() if array.type.bit_width == 64 else pa.int32()
    ticks = _values(array.view(kind)).astype(np.int64)
    seconds, rest = np.divmod(ticks, _SECOND[unit])
    return _cells(tag, seconds, rest * (_SECOND["ns"] // _SECOND[unit]))


def _hashed(tag: bytes, array: Any) -> Bytes:
    encoded = pc.dictionary_encode(array)
    unique = encoded.dictionary.cast(pa.large_binary()).to_pylist()
    table = np.frombuffer(_digests(unique).tobytes(), dtype=np.uint8).reshape(-1, SIZE)
    cells = np.zeros((len(array), CELL), dtype=np.uint8)
    cells[:, 0] = tag[0]
    if len(unique):
        cells[:, 1:] = table[_values(encoded.indices).astype(np.int64)]
    return cells


def _cells(tag: bytes, low: NDArray[np.int64], high: NDArray[np.int64]) -> Bytes:
    words = np.stack([low, high], axis=1).astype("<i8")
    cells = np.empty((len(low), CELL), dtype=np.uint8)
    cells[:, 0] = tag[0]
    cells[:, 1:] = np.ascontiguousarray(words).view(np.uint8).reshape(-1, SIZE)
    return cells


def _nested(array: Any) -> Bytes:
    kind = array.type
    cells = np.empty((len(array), CELL), dtype=np.uint8)
    if pa.types.is_struct(kind):
        cells[:, 0] = b"S"[0]
        names = json.dumps([field.name for field in kind]).encode()
        fields = [_encode(field) for field in array.flatten()]
        content = np.concatenate(fields, axis=1) if fields else np.empty((len(array), 0), np.uint8)
        digests = _digests(names + row.tobytes() for row in content)
    else:
        cells[:, 0] = b"L"[0]
        items = _encode(array.flatten())
        ends = np.cumsum(_values(pc.list_value_length(array)).astype(np.int64)).tolist()
        starts = [0, *ends[:-1]]
        digests = _digests(
            items[start:end].tobytes() for start, end in zip(starts, ends, strict=True)
        )
    cells[:, 1:] = np.frombuffer(digests.tobytes(), dtype=np.uint8).reshape(-1, SIZE)
    return cells
