"""One pass over the inputs: what the ids, the groups and the card are made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.source import LeftOut, RawData
from crucibench.contracts.task import Modality
from crucibench.data import ids
from crucibench.data.bad_samples import BadSampleError, Tally
from crucibench.data.columnar import arrow_batches, as_text, rows_at_once
from crucibench.data.decoding import in_threads
from crucibench.data.images import (
    ImageFacts,
    StoredImage,
    array_values,
    decode,
    require_unit_range,
    stored_images,
)
from crucibench.data.like import conform
from crucibench.data.texts import text_values
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
        images: what decoding the encoded images showed, and of how many.
        missing: the features with a missing value.
        bad: whether a sample can't be used; its digest means nothing then.
        left_out: the bad samples that had a target, counted.
    """

    digests: NDArray[np.bytes_]
    texts: Mapping[str, Any]
    images: Mapping[ImageFacts, int]
    missing: frozenset[str]
    bad: NDArray[np.bool_]
    left_out: LeftOut

    def __len__(self) -> int:
        return len(self.digests)


def read_contents(
    raw: RawData,
    without: Mapping[str, NDArray[np.bool_]],
    progress: Callable[[int, int], None],
    types: Mapping[str, Any] | None = None,
) -> dict[str, Contents]:
    """Returns what each role of `raw` holds.

    Args:
        raw: the data.
        without: by role: the samples that are bad already and not looked at.
        progress: called with the number of samples done and their total.
        types: what columns are brought to first.

    Raises:
        InputError: if a sample has no cluster or no id, or arrays hold no images.
    """
    total = sum(map(len, raw.roles.values()))
    contents: dict[str, Contents] = {}
    for role, dataset in raw.roles.items():
        before = sum(map(len, contents.values()))

        def tell(done: int, before: int = before) -> None:
            progress(before + done, total)

        contents[role] = _Reader(raw, role, without[role], tell, types or {}).read(dataset)
    return contents


class _Reader:
    """Goes once over a role's data."""

    def __init__(
        self,
        raw: RawData,
        role: str,
        without: NDArray[np.bool_],
        progress: Callable[[int], None],
        types: Mapping[str, Any],
    ) -> None:
        self.raw = raw
        self.types = types
        self.role = role
        self.bad = without.copy()
        self.tally = Tally()
        self.progress = progress
        self.done = 0
        self.images: Counter[ImageFacts] = Counter()
        self.missing: set[str] = set()

    def read(self, dataset: datasets.Dataset) -> Contents:
        raw = self.raw
        named = tuple(dict.fromkeys(name for name in (*raw.groups, raw.cluster, raw.id) if name))
        digests: list[NDArray[np.bytes_]] = []
        texts: dict[str, list[Any]] = {name: [] for name in named}
        self.progress(0)
        columns = tuple(dict.fromkeys((*raw.inputs, *named)))
        for table in arrow_batches(dataset, columns, self._rows_at_once()):
            digests.append(self._digests(table))
            for name in named:
                texts[name].append(as_text(table.column(name), f"column {name!r}"))
            self.done += table.num_rows
            self.progress(self.done)
        joined = {
            name: pa.chunked_array(chunks, pa.large_string()).combine_chunks()
            for name, chunks in texts.items()
        }
        for option, name in (("cluster", raw.cluster), ("id", raw.id)):
            if name:
                self._require_present(option, name, joined[name])
        return Contents(
            np.concatenate(digests), joined, self.images, frozenset(self.missing), self.bad,
            self.tally.left_out(),
        )  # fmt: skip

    def _rows_at_once(self) -> int:
        raw = self.raw
        if raw.modality is Modality.IMAGE:
            shape = raw.image_shape
            return rows_at_once(4 * int(np.prod(shape))) if shape else _IMAGES_AT_ONCE
        return 1024 if raw.modality is Modality.TEXT else rows_at_once(ids.CELL * len(raw.inputs))

    def _digests(self, table: Any) -> NDArray[np.bytes_]:
        raw = self.raw
        if raw.modality is Modality.TABLE:
            table = conform(table, self.types)
            self.missing.update(name for name in raw.inputs if _some_missing(table.column(name)))
            return ids.table_digests(table, raw.inputs)
        if raw.modality is Modality.TEXT:
            return ids.text_digests([self._texts(table, name) for name in raw.inputs])
        (column,) = raw.inputs
        if raw.image_shape is not None:
            values = array_values(table, column, raw.image_shape)
            require_unit_range(values, f"column {column!r}")
            return ids.array_digests(values)
        rows = range(self.done, self.done + table.num_rows)
        found = in_threads(self._image, list(stored_images(table, column, rows)))
        self.images.update(facts for facts, _ in found if isinstance(facts, ImageFacts))
        for row, (facts, _) in zip(rows, found, strict=True):
            if isinstance(facts, BadSampleError):
                self._leave_out(row, facts.kind, str(facts))
        return np.concatenate([digest for _, digest in found])

    def _image(
        self, image: StoredImage
    ) -> tuple[ImageFacts | BadSampleError | None, NDArray[np.bytes_]]:
        """Returns what is wrong with an image, or else what is to know of it; and its digest."""
        if self.bad[image.row]:
            return None, ids.encoded_digests([b""])
        try:
            content = image.content()
            return decode(content, image.name)[1], ids.encoded_digests([content])
        except BadSampleError as error:
            return error, ids.encoded_digests([b""])

    def _texts(self, table: Any, name: str) -> list[str]:
        column = pc.cast(table.column(name), pa.large_string())
        for at in np.flatnonzero(column.is_null().to_numpy()).tolist() if column.null_count else ():
            row = self.done + at
            if not self.bad[row]:
                self._leave_out(row, "text missing", f"row {row:,}: the text {name!r} is missing")
        return text_values(pc.fill_null(column, ""))

    def _leave_out(self, row: int, kind: str, sentence: str) -> None:
        self.bad[row] = True
        self.tally.add(kind, sentence)

    def _require_present(self, option: str, name: str, column: Any) -> None:
        if count := column.null_count:
            raise InputError(
                f"option {option}: {count} of {len(column)} values of column {name!r} "
                f"{'is' if count == 1 else 'are'} missing in {self.role}"
            )


def _some_missing(column: Any) -> bool:
    return bool(pc.any(column.is_null(nan_is_null=True)).as_py())
