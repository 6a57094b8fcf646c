"""Opens data for the engine: sources, ids, targets, roles and batches in canonical form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import InputSpec
from crucibench.contracts.data import DataCard, EvalSet, Samples
from crucibench.contracts.source import DataOpening, DataSource, Labels, Like, RawData
from crucibench.contracts.task import Modality
from crucibench.data import images
from crucibench.data.columnar import frame_hints, to_frame
from crucibench.data.decoding import in_threads
from crucibench.data.index import Index, Rows, as_rows
from crucibench.data.indexing import build_index
from crucibench.data.like import casts, conform, fit, with_categories
from crucibench.data.texts import text_values
from crucibench.util.errors import InputError


def open_data(source: DataSource, opening: DataOpening) -> ArrowEvalSet:
    """Reads, converts and indexes data, or finds that done in the cache, and opens it.

    Raises:
        InputError: if there is no such data, or it can't be evaluated.
    """
    raw = source.read(opening)
    index = build_index(raw, opening.scratch, opening.progress)
    return ArrowEvalSet(_card(opening, raw, index), raw, index)


def open_further(
    source: DataSource, opening: DataOpening, main: ArrowEvalSet, labels: Labels
) -> ArrowEvalSet:
    """Opens further data that goes with `main`; its role ``test`` has the main data set's task.

    Raises:
        InputError: if there is no such data, or it does not go with `main`.
    """
    like = main.like(labels)
    raw = fit(source.read(replace(opening, like=like)), like)
    index = build_index(raw, opening.scratch, opening.progress, like)
    return ArrowEvalSet(_card(opening, raw, index), raw, index, main)


@final
class ArrowEvalSet(EvalSet):
    """A data set whose inputs and index are mapped from disk: memory does not grow with it."""

    def __init__(
        self, card: DataCard, raw: RawData, index: Index, main: ArrowEvalSet | None = None
    ) -> None:
        """Takes an index of `raw`; further data take the form of `main`'s samples."""
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
        self._missing: Sequence[str] = index.facts.get("missing", ())
        self._types: Mapping[str, Any] = {}
        if main is not None and raw.modality is Modality.TABLE:
            self._take_form(main)

    def like(self, labels: Labels) -> Like:
        """Returns what further data has to share with this."""
        raw = self._raw
        schema = raw.roles["test"].data.schema
        table = raw.modality is Modality.TABLE
        return Like(
            name=self.card.name, modality=raw.modality, inputs=raw.inputs,
            types={name: schema.field(name).type for name in raw.inputs} if table else {},
            target=raw.target, groups=raw.groups, cluster=raw.cluster, id=raw.id,
            classes=self.task.classes, kind=self.task.kind, labels=labels,
        )  # fmt: skip

    @property
    def image_form(self) -> tuple[int, tuple[int, int] | None]:
        """The channels of its images, and the (height, width) of all of role test, if it is one."""
        facts = self._index.facts["images"]
        sizes = facts["sizes"][self._index.origins["test"]]
        return facts["channels"], (sizes[0][0], sizes[0][1]) if len(sizes) == 1 else None

    def _take_form(self, main: ArrowEvalSet) -> None:
        """Takes over the dtypes that the main data set's columns have in a data frame."""
        dataset = self._raw.roles["test"]
        self._types = casts(main.like("optional"), dataset.data.schema)
        self._missing = sorted({*self._missing, *main._missing})
        own, theirs = self._hints["test"], main._hints["test"]
        hints = {}
        for name in self._raw.inputs:
            hint = theirs.get(name)
            same = name in self._types or dataset.data.schema.field(name).type == main._type(name)
            if hint and "categories" in hint:
                chunks = dataset.data.column(name).chunks
                hint = with_categories(hint, chunks)
            elif not same:
                hint = own.get(name)
            if hint:
                hints[name] = hint
        self._hints = {"test": hints}

    def _type(self, name: str) -> Any:
        return self._raw.roles["test"].data.schema.field(name).type

    @property
    def bad_samples(self) -> Mapping[str, Mapping[str, Any]]:
        """What was left out, by role of the source's data; empty where all can be used.

        ``left_out`` samples ``of`` so many, by ``kinds``, and a sentence for each of the ``first``.
        """
        facts: Mapping[str, Mapping[str, Any]] = self._index.facts["bad_samples"]
        return facts

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
        origins = index.origins(rows)
        table = _table(self._inputs[origin], origins)
        stored: Sequence[tuple[int, int]] = ()
        match self.task.modality:
            case Modality.IMAGE:
                inputs: Any
                inputs, stored = self._images(table, origin, origins, spec)
            case Modality.TEXT:
                columns = [text_values(table.column(name)) for name in self._raw.inputs]
                inputs = columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))
            case Modality.TABLE:
                inputs = self._frame(table, origin)
        return Batch(
            ids=tuple(samples.ids),
            inputs=inputs,
            role=role,
            rows=tuple(as_rows(rows).tolist()),
            keys=() if samples.keys is None else tuple(samples.keys),
            stored=tuple(stored),
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

    def _images(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns canonical images, and the sizes in which they are stored."""
        import torch

        column = self._raw.inputs[0]
        channels = spec.channels or self._index.facts["images"]["channels"]
        shape = self._raw.image_shape
        if shape is not None:
            values = images.array_values(table, column, shape)
            pixels = images.to_tensor(np.moveaxis(values, 1, -1), channels)
            sizes = [shape[1:]] * len(pixels)
            if spec.size is None:
                return pixels, sizes
            return torch.stack([images.fit(image, spec) for image in pixels]), sizes
        stored = list(images.stored_images(table, column, rows))
        if spec.size is None:
            height, width = self._index.facts["images"]["sizes"][origin][0]
            made = images.decode_all(stored, (channels, height, width))
            return made, [(height, width)] * len(stored)
        decoded = in_threads(lambda image: images.decode(image.content(), image.name)[0], stored)
        fitted = [images.fit(images.to_tensor(array, channels), spec) for array in decoded]
        return torch.stack(fitted), [(len(array), array.shape[1]) for array in decoded]

    def _frame(self, table: Any, origin: str) -> pd.DataFrame:
        columns = conform(table.select(list(self._raw.inputs)), self._types)
        return to_frame(columns, self._missing, self._hints[origin])


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
