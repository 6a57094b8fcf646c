"""A torch `Dataset` of pairs, read once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from crucibench.contracts.source import DataOpening, RawData
from crucibench.data.arrays import IMAGE, TARGET, ArrayForm, array_form, to_numpy
from crucibench.data.columnar import Conversion, column_kinds, convert, storable
from crucibench.data.hub import import_datasets
from crucibench.data.images import to_pnm
from crucibench.data.objects.live import Roles, layout_of, no_sample
from crucibench.data.objects.texts import text_columns
from crucibench.data.options import DataOptions, choose_columns
from crucibench.data.texts import text_array
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory

_AT_ONCE = 256


def read_torch(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads torch Datasets."""
    options = replace(options, target=options.target or TARGET)
    classes = getattr(roles["test"], "classes", None)
    if options.classes is None and classes and all(isinstance(name, str) for name in classes):
        options = replace(options, classes=tuple(classes))
    readers = {role: _TorchReader(role, data, layout_of(opening)) for role, data in roles.items()}
    test = readers["test"]
    schema = test.schema(options.target)
    kinds = column_kinds(schema)
    if test.form is not None and test.form.image_shape:
        kinds[IMAGE] = "image"
    if test.is_text and not options.features:
        options = replace(options, input=tuple(schema.names[:-1]))
    columns = choose_columns(kinds, options, no_sample)

    def fill(conversion: Conversion) -> None:
        for role, reader in readers.items():
            kept = reader.schema(options.target)
            conversion.write(role, kept, reader.batches(kept, opening.progress))

    done = convert(opening.scratch, fill)
    shape = test.form.image_shape if test.form else None
    return columns.raw(done.roles, options, key=done.key, image_shape=shape, **more)


class _TorchReader:
    """Reads a torch Dataset of pairs, once and in order."""

    def __init__(self, role: str, data: Any, layout: str) -> None:
        self.what = f"the data of {role}"
        self.data = data
        if not len(data):
            raise InputError(f"{self.what} has no samples")
        self.first = self._items(0, min(_AT_ONCE, len(data)))
        x = self.first[0][0]
        self.is_text = _is_text(x)
        self.is_picture = hasattr(x, "getbands") and hasattr(x, "mode")
        self.form: ArrayForm | None = None
        if not self.is_text and not self.is_picture:
            array = to_numpy(x)
            if not array.ndim:
                raise InputError(
                    f"{self.what}: expected tensors, texts or images, got {type(x).__name__}"
                )
            self.form = array_form((1, *array.shape), array.dtype, self.what, layout=layout)

    def schema(self, target: str) -> Any:
        """Returns the Arrow schema of the samples, the target last."""
        library = import_datasets()
        if self.is_picture:
            features = library.Features({IMAGE: library.Image()})
            inputs = list(features.arrow_schema)
            metadata = features.arrow_schema.metadata
        else:
            metadata = None
            kind = self.form.kind if self.form else pa.large_string()
            inputs = [pa.field(name, kind) for name in self._columns()]
        return storable(
            pa.schema([*inputs, pa.field(target, self._targets(self.first).type)], metadata)
        )

    def batches(self, schema: Any, progress: Callable[[int, int], None]) -> Iterator[Any]:
        """Yields record batches of that schema."""
        for start in range(0, len(self.data), _AT_ONCE):
            stop = min(start + _AT_ONCE, len(self.data))
            items = self._items(start, stop) if start else self.first
            targets = self._targets(items)
            try:
                targets = targets.cast(schema.field(len(schema) - 1).type)
            except pa.ArrowException:
                raise InputError(f"{self.what}: the targets are of several types") from None
            arrays = self._inputs([x for x, _ in items], start, schema)
            yield pa.record_batch([*arrays, targets], schema=schema)
            progress(stop, len(self.data))

    def _columns(self) -> tuple[str, ...]:
        if self.form:
            return self.form.columns
        x = self.first[0][0]
        return ("text",) if isinstance(x, str) else tuple(f"text{n}" for n in range(len(x)))

    def _items(self, start: int, stop: int) -> list[tuple[Any, Any]]:
        def read() -> list[Any]:
            return [self.data[row] for row in range(start, stop)]

        items = call_factory(read, f"reading {self.what}")
        for item in items:
            if not isinstance(item, tuple | list) or len(item) != 2:
                got = f"{len(item)} values" if isinstance(item, tuple | list) else _name(item)
                raise InputError(f"{self.what}: expected pairs (x, y), got {got}")
        return [(x, y) for x, y in items]

    def _targets(self, items: list[tuple[Any, Any]]) -> Any:
        values = [_plain(y) for _, y in items]
        try:
            targets = pa.array(values, from_pandas=True)
        except (pa.ArrowException, ValueError):
            raise InputError(f"{self.what}: expected classes or numbers as targets") from None
        if pa.types.is_nested(targets.type):
            raise InputError(f"{self.what}: expected one target per sample, got {values[0]!r}")
        return targets

    def _inputs(self, values: list[Any], start: int, schema: Any) -> list[Any]:
        if self.is_picture:
            stored = [{"bytes": to_pnm(image, self.what), "path": None} for image in values]
            return [pa.array(stored, schema.field(IMAGE).type)]
        if self.form is None:
            columns = text_columns(values)
            return [text_array(columns[name]) for name in self._columns()]
        arrays = [to_numpy(value) for value in values]
        for number, array in enumerate(arrays):
            if array.shape != arrays[0].shape:
                raise InputError(
                    f"{self.what}: sample {start + number} has shape {array.shape}, "
                    f"sample {start} {arrays[0].shape}"
                )
        return self.form.encode(np.stack(arrays), self.what)


def _is_text(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(part, str) for part in value)
    return isinstance(value, str)


def _plain(target: Any) -> Any:
    """Returns a target of one element as a plain value."""
    array = to_numpy(target) if hasattr(target, "detach") else target
    return array.item() if isinstance(array, np.ndarray | np.generic) and array.size == 1 else array


def _name(value: object) -> str:
    return type(value).__name__
