"""A `datasets.Dataset`, used as it is unless it holds images as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.source import DataOpening, RawData
from crucibench.contracts.task import Modality
from crucibench.data.arrays import array_form
from crucibench.data.columnar import (
    Conversion,
    arrow_batches,
    column_kinds,
    convert,
    rows_at_once,
    storable,
)
from crucibench.data.hub import import_datasets
from crucibench.data.objects.live import SAMPLE, Roles, layout_of
from crucibench.data.options import DataOptions, choose_columns
from crucibench.util.errors import InputError


def read_datasets(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads objects of `datasets`."""
    library = import_datasets()
    test = roles["test"]
    kinds = column_kinds(test.features.arrow_schema)
    arrays = (library.Array2D, library.Array3D)
    kinds |= {name: "image" for name, kind in test.features.items() if isinstance(kind, arrays)}
    if not options.target and "label" in kinds:
        options = replace(options, target="label")
    columns = choose_columns(kinds, options, lambda name: test[:SAMPLE][name])
    image = columns.inputs[0]
    if columns.modality is not Modality.IMAGE or not isinstance(test.features[image], arrays):
        return columns.raw(roles, options, **more)
    shape = tuple(test.features[image].shape)
    if None in shape:
        raise InputError(f"column {image!r}: expected images of one size, got shape {shape}")
    value = np.dtype(test.features[image].dtype)
    form = array_form((0, *shape), value, f"column {image!r}", layout=layout_of(opening))
    others = [name for name in columns.used if name != image]

    def fill(conversion: Conversion) -> None:
        for role, dataset in roles.items():
            kept = dataset.select_columns(others).features.arrow_schema
            schema = storable(pa.schema([pa.field(image, form.kind), *kept], kept.metadata))

            def batches(dataset: Any = dataset, schema: Any = schema) -> Iterator[Any]:
                step = rows_at_once(value.itemsize * int(np.prod(shape)))
                for table in arrow_batches(dataset, columns.used, step):
                    pixels = _flat(table.column(image).combine_chunks().storage)
                    encoded = form.encode(pixels.reshape(-1, *shape), f"column {image!r}")
                    rest = [table.column(name).combine_chunks() for name in others]
                    yield pa.record_batch([*encoded, *rest], schema=schema)

            conversion.write(role, schema, batches())

    done = convert(opening.scratch, fill)
    shaped = {"image_shape": form.image_shape, "key": done.key}
    return columns.raw(done.roles, options, **more, **shaped)


def _flat(array: Any) -> NDArray[Any]:
    while pa.types.is_nested(array.type):
        array = array.flatten()
    return np.asarray(array.to_numpy(zero_copy_only=False))
