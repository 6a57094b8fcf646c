"""One pass over the inputs: what the ids, the groups and the card are made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.source import RawData
from crucibench.contracts.task import Modality
from crucibench.data import ids
from crucibench.data.columnar import arrow_batches, as_text, rows_at_once
from crucibench.data.images import (
    ImageFacts,
    array_values,
    decode,
    image_pixels,
    require_unit_range,
)
from crucibench.util.errors import InputError

if TYPE_CHECKING:
    import datasets

_IMAGES_AT_ONCE = 64


@dataclass(frozen=True)
class Contents:
    """What one role of a source's data holds.

    Attributes:
        digests: of each sample's content.
        texts: the group, cluster and id columns as Arrow arrays of strings.
        images: what decoding each encoded image showed.
        missing: the features with a missing value.
    """

    digests: NDArray[np.bytes_]
    texts: Mapping[str, Any]
    images: tuple[ImageFacts, ...]
    missing: frozenset[str]

    def __len__(self) -> int:
        return len(self.digests)


def read_contents(raw: RawData, progress: Callable[[int, int], None]) -> dict[str, Contents]:
    """Returns what each role of `raw` holds.

    Raises:
        InputError: if an input can't be read, or a sample has no cluster or no id.
    """
    total = sum(map(len, raw.roles.values()))
    contents: dict[str, Contents] = {}
    for role, dataset in raw.roles.items():
        before = sum(map(len, contents.values()))
        contents[role] = _Reader(raw, role, progress, before, total).read(dataset)
    return contents


class _Reader:
    """Goes once over a role's data."""

    def __init__(
        self,
        raw: RawData,
        role: str,
        progress: Callable[[int, int], None],
        before: int,
        total: int,
    ) -> None:
        self.raw = raw
        self.role = role
        self.progress = progress
        self.before = before
        self.total = total
        self.done = 0
        self.images: list[ImageFacts] = []
        self.missing: set[str] = set()

    def read(self, dataset: datasets.Dataset) -> Contents:
        raw = self.raw
        named = tuple(dict.fromkeys(name for name in (*raw.groups, raw.cluster, raw.id) if name))
        digests: list[NDArray[np.bytes_]] = []
        texts: dict[str, list[Any]] = {name: [] for name in named}
        self.progress(self.before, self.total)
        columns = tuple(dict.fromkeys((*raw.inputs, *named)))
        for table in arrow_batches(dataset, columns, self._rows_at_once()):
            digests.append(self._digests(table))
            for name in named:
                texts[name].append(as_text(table.column(name), f"column {name!r}"))
            self.done += table.num_rows
            self.progress(self.before + self.done, self.total)
        joined = {
            name: pa.chunked_array(chunks, pa.large_string()).combine_chunks()
            for name, chunks in texts.items()
        }
        for option, name in (("cluster", raw.cluster), ("id", raw.id)):
            if name:
                self._require_present(option, name, joined[name])
        return Contents(
            np.concatenate(digests), joined, tuple(self.images), frozenset(self.missing)
        )

    def _rows_at_once(self) -> int:
        raw = self.raw
        if raw.modality is Modality.IMAGE:
            shape = raw.image_shape
            return rows_at_once(4 * int(np.prod(shape))) if shape else _IMAGES_AT_ONCE
        return 1024 if raw.modality is Modality.TEXT else rows_at_once(ids.CELL * len(raw.inputs))

    def _digests(self, table: Any) -> NDArray[np.bytes_]:
        raw = self.raw
        if raw.modality is Modality.TABLE:
            self.missing.update(name for name in raw.inputs if _some_missing(table.column(name)))
            return ids.table_digests(table, raw.inputs)
        if raw.modality is Modality.TEXT:
            return ids.text_digests([self._texts(table, name) for name in raw.inputs])
        (column,) = raw.inputs
        if raw.image_shape is not None:
            values = array_values(table, column, raw.image_shape)
            require_unit_range(values, f"column {column!r}")
            return ids.array_digests(values)
        stored = list(image_pixels(table, column))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            self.images += pool.map(lambda image: decode(*image)[1], stored)
        return ids.encoded_digests(content for content, _ in stored)

    def _texts(self, table: Any, name: str) -> list[str]:
        column = pc.cast(table.column(name), pa.large_string())
        if column.null_count:
            row = self.done + int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise InputError(
                f"column {name!r}: a text is missing ({self.role} row {row}, counted from 0)"
            )
        return list(column.to_pylist())

    def _require_present(self, option: str, name: str, column: Any) -> None:
        if count := column.null_count:
            raise InputError(
                f"option {option}: {count} of {len(column)} values of column {name!r} "
                f"{'is' if count == 1 else 'are'} missing in {self.role}"
            )


def _some_missing(column: Any) -> bool:
    return bool(pc.any(column.is_null(nan_is_null=True)).as_py())
