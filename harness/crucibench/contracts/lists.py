"""Columns of lists of any length, as offsets and values: no loop over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Lists:
    """One list a row: row i holds ``values[offsets[i]:offsets[i + 1]]``.

    Example:
        >>> boxes = Lists.of([2, 0, 1], np.arange(12.0).reshape(3, 4))
        >>> len(boxes), boxes.lengths.tolist(), boxes[np.array([2, 0])].values[:, 0].tolist()
        (3, [2, 0, 1], [8.0, 0.0, 4.0])

    Attributes:
        offsets: shape (n + 1,), int64, from 0 on, never falling.
        values: of all rows one after the other: shape (m,), numbers or str, or (m, k) numbers
            where an item is k numbers, as a box is.
    """

    offsets: NDArray[np.int64]
    values: NDArray[Any]

    def __post_init__(self) -> None:
        """Checks that offsets and values go together.

        Raises:
            ValueError: if they don't.
        """
        offsets = self.offsets
        if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(self.values):
            raise ValueError(f"lists: expected offsets from 0 to {len(self.values)}")
        if (np.diff(offsets) < 0).any() or self.values.ndim not in (1, 2):
            raise ValueError(
                "lists: expected offsets that don't fall, values of shape (m,) or (m, k)"
            )

    @classmethod
    def of(cls, lengths: Any, values: NDArray[Any]) -> Lists:
        """Returns lists of these lengths, shape (n,)."""
        return cls(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), values)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Items of each row, shape (n,)."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> NDArray[np.int64]:
        """The row of each item, shape (m,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def at(self, row: int) -> NDArray[Any]:
        """Returns the list of one row."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __getitem__(self, rows: NDArray[Any]) -> Lists:
        """Returns the lists of some rows: their numbers, or a mask."""
        chosen = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        lengths = self.lengths[chosen]
        starts = np.repeat(self.offsets[chosen] - (np.cumsum(lengths) - lengths), lengths)
        return Lists.of(lengths, self.values[starts + np.arange(len(starts))])

    def summary(self) -> NDArray[np.float64]:
        """Returns numbers that tell two answers apart, shape (n, 1 + k): length, and sums of items.

        Later items weigh more, so that their order shows; texts count by their hashes.
        """
        values = self.values
        if values.dtype.kind not in "biuf":
            values = pd.util.hash_array(values.astype(object)) / 2.0**64
        items = (values[:, None] if values.ndim == 1 else values).astype(np.float64)
        place = np.arange(len(items)) - self.offsets[self.rows]
        found = np.zeros((len(self), 1 + items.shape[1]))
        found[:, 0] = self.lengths
        np.add.at(found[:, 1:], self.rows, items * (1.0 + place)[:, None])
        return found


Column = NDArray[Any] | Lists
"""A column of n rows: an array, or lists of any length."""


def differing_rows(first: Column, second: Column) -> NDArray[np.bool_]:
    """Returns which of n rows differ between two columns of one form, shape (n,)."""
    if not isinstance(first, Lists) or not isinstance(second, Lists):
        return np.asarray(first != second)
    differs: NDArray[np.bool_] = first.lengths != second.lengths
    alike = np.flatnonzero(~differs)
    a, b = first[alike], second[alike]
    items = a.values != b.values
    differs[alike[a.rows[items.any(axis=1) if items.ndim == 2 else items]]] = True
    return differs


def moved_rows(first: Column, second: Column, noise: float) -> NDArray[np.bool_]:
    """Returns which of n rows differ by more than float noise, shape (n,).

    Args:
        first: of numbers, texts or lists.
        second: of the same form.
        noise: the most that two numbers may lie apart, relative to the larger of the first and 1.
    """
    if isinstance(first, Lists) or isinstance(second, Lists) or first.dtype.kind not in "fc":
        return differing_rows(first, second)
    apart = ~(np.abs(first - second) <= noise * np.maximum(1.0, np.abs(first)))
    apart &= ~(np.isnan(first) & np.isnan(second))
    return np.asarray(apart.reshape(len(apart), -1).any(axis=1))


def joined(columns: Sequence[Column]) -> Column:
    """Returns columns of one form below each other."""
    lists = [column for column in columns if isinstance(column, Lists)]
    if not lists:
        return np.concatenate([column for column in columns if not isinstance(column, Lists)])
    return Lists.of(
        np.concatenate([one.lengths for one in lists]),
        np.concatenate([one.values for one in lists]),
    )


def to_arrow(values: Any) -> pa.Array:
    """Returns a column as Arrow: 2-D arrays as fixed-size lists, `Lists` as lists of them."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, Lists):
        offsets = pa.array(values.offsets.astype(np.int32))
        return pa.ListArray.from_arrays(offsets, to_arrow(values.values))
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.array(values)


def from_arrow(column: pa.Array | pa.ChunkedArray) -> Column:
    """Returns an Arrow column as NumPy has it; the inverse of `to_arrow`.

    Raises:
        ValueError: if a list is missing.
    """
    if isinstance(column, pa.ChunkedArray):
        whole = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        if isinstance(whole, pa.ChunkedArray):
            whole = whole.chunk(0) if whole.num_chunks else pa.array([], whole.type)
        column = whole
    if pa.types.is_fixed_size_list(column.type):
        flat = column.flatten().to_numpy(zero_copy_only=False)
        matrix: NDArray[Any] = flat.reshape(len(column), column.type.list_size)
        return matrix
    if is_list(column.type):
        if column.null_count:
            raise ValueError(f"lists: {column.null_count} of {len(column)} are missing")
        offsets = np.asarray(column.offsets.to_numpy(), dtype=np.int64)
        values = from_arrow(column.flatten())
        if isinstance(values, Lists):
            raise ValueError(f"lists: items are of one length, got {column.type}")
        return Lists(offsets - offsets[0], values)
    array: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def few_strings(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """Returns a column of strings, each made once however often it occurs; None where it lacks."""
    coded = column.combine_chunks()
    if not pa.types.is_dictionary(coded.type):
        coded = coded.dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks() if coded.num_chunks != 1 else coded.chunk(0)
    known = np.array([*coded.dictionary.to_pylist(), None], dtype=object)
    rows: NDArray[np.int64] = coded.indices.fill_null(len(known) - 1).to_numpy()
    return known[rows]


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of any length."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def item_type(kind: pa.DataType) -> pa.DataType:
    """Returns the type of the innermost items of a list, or the type itself."""
    while is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind
