"""Opens data for the engine: sources, ids, targets, roles and batches in canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard, EvalSet, Samples
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.data import images
from crucibench.data.columnar import frame_hints, to_frame
from crucibench.data.index import Index, Rows, as_rows
from crucibench.data.indexing import build_index
from crucibench.util.errors import InputError

_SEVERAL = 4
"""Encoded images, from which on threads decode them."""


def open_data(source: DataSource, opening: DataOpening) -> ArrowEvalSet:
    """Reads, converts and indexes data, or finds that done in the cache, and opens it.

    Raises:
        InputError: if there is no such data, or it can't be evaluated.
    """
    raw = source.read(opening)
    index = build_index(raw, opening.scratch, opening.progress)
    return ArrowEvalSet(_card(opening, raw, index), raw, index)


@final
class ArrowEvalSet(EvalSet):
    """A data set whose inputs and index are mapped from disk: memory does not grow with it."""

    def __init__(self, card: DataCard, raw: RawData, index: Index) -> None:
        self.card = card
        self._raw = raw
        self._index = index
        self._hints = {
            role: frame_hints(dataset.data.schema) for role, dataset in raw.roles.items()
        }
        self._inputs = {
            role: dataset.select_columns(list(raw.inputs)).with_format("arrow")
            for role, dataset in raw.roles.items()
        }

    def samples(self, role: str) -> Samples:
        """Returns the sample table of a role, whole: O(n) memory."""
        return self._index.roles[role].samples()

    def slice(self, role: str, rows: Rows) -> Samples:
        """Returns the sample table at `rows`, in O(rows) memory."""
        return self._index.roles[role].take(rows)

    def batch(self, role: str, rows: Rows, spec: InputSpec) -> Batch:
        """Returns the samples at `rows` in the canonical form that `spec` asks for.

        Texts are `str`, or tuples where there are several columns; a table row keeps the columns,
        dtypes and missing values of its data set; images are as `crucibench.data.images` says.

        Raises:
            InputError: if the data can't be brought into that form.
        """
        self._check(role, spec)
        index = self._index.roles[role]
        samples = index.take(rows)
        origin = self._index.origins[role]
        table = _table(self._inputs[origin], index.origins(rows))
        match self.task.modality:
            case Modality.IMAGE:
                inputs: Any = self._images(table, spec)
            case Modality.TEXT:
                columns = [table.column(name).to_pylist() for name in self._raw.inputs]
                inputs = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
            case Modality.TABLE:
                inputs = self._frame(table, origin)
        return Batch(
            ids=tuple(samples.ids),
            inputs=inputs,
            role=role,
            rows=tuple(as_rows(rows).tolist()),
            keys=() if samples.keys is None else tuple(samples.keys),
        )

    def _check(self, role: str, spec: InputSpec) -> None:
        have = self.task.modality
        name = self.card.name
        if spec.modality is not None and spec.modality is not have:
            raise InputError(f"the model takes {spec.modality} input, the data {name!r} is {have}")
        if have is Modality.TEXT and spec.modality is not None:
            columns = len(self._raw.inputs)
            if spec.columns != columns:
                raise InputError(
                    f"the model takes texts of {spec.columns} columns, the data {name!r} has "
                    f"{columns}: {', '.join(self._raw.inputs)}"
                )
        if have is Modality.IMAGE and spec.size is None:
            sizes = self._index.facts["images"]["sizes"][self._index.origins[role]]
            if len(sizes) > 1:
                small, large = (f"{height}x{width}" for height, width in sizes)
                raise InputError(
                    f"the images of {name!r} differ in size (height x width: {small} to {large}), "
                    "so the model must say which it takes (size under the spec's input)"
                )

    def _images(self, table: Any, spec: InputSpec) -> Any:
        import torch

        column = self._raw.inputs[0]
        channels = spec.channels or self._index.facts["images"]["channels"]
        shape = self._raw.image_shape
        if shape is not None:
            values = images.array_values(table, column, shape)
            pixels = images.to_tensor(np.moveaxis(values, 1, -1), channels)
            if spec.size is None:
                return pixels
            return torch.stack([images.fit(image, spec) for image in pixels])
        decoded = _decode(list(images.image_pixels(table, column)))
        return torch.stack(
            [images.fit(images.to_tensor(array, channels), spec) for array in decoded]
        )

    def _frame(self, table: Any, origin: str) -> pd.DataFrame:
        missing = self._index.facts["missing"]
        return to_frame(table.select(list(self._raw.inputs)), missing, self._hints[origin])


def _card(opening: DataOpening, raw: RawData, index: Index) -> DataCard:
    facts: Mapping[str, Any] = index.facts
    return DataCard(
        name=opening.name,
        uri=str(opening.uri),
        task=index.task,
        features=facts["features"],
        target=raw.target,
        groups=raw.groups,
        cluster=raw.cluster,
        counts=facts["counts"],
        class_counts=facts["class_counts"],
        fingerprint=facts["fingerprint"],
        ids_digest=facts["ids_digest"],
        revision=raw.revision,
        split=facts["split"],
        licence=raw.licence,
        citation=raw.citation,
        notes=tuple(facts["notes"]),
    )


def _table(dataset: Any, rows: NDArray[np.int64]) -> Any:
    """Returns an Arrow table of some rows; rows that follow each other are a view."""
    if not len(rows):
        return dataset[:0]
    first, last = int(rows[0]), int(rows[-1])
    if last - first == len(rows) - 1 and (np.diff(rows) == 1).all():
        return dataset[first : last + 1]
    return dataset[rows]


def _decode(stored: list[tuple[bytes, str]]) -> list[NDArray[Any]]:
    import torch

    def pixels(image: tuple[bytes, str]) -> NDArray[Any]:
        return images.decode(*image)[0]

    threads = torch.get_num_threads()
    if threads < 2 or len(stored) < _SEVERAL:
        return [pixels(image) for image in stored]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(pixels, stored))
