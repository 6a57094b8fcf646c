"""`python:FILE.py:FACTORY`, and live objects: data that the user's own code makes.

What a factory returns and what a notebook holds:

- A `datasets.Dataset` is used as it is, but for images as arrays; its target is ``label`` unless
  the options name another.
- A data frame is a table; the options must name its target.
- ``(X, y)``: X is a frame, an array or tensor as `crucibench.data.arrays` has it, or texts:
  strings, or tuples of as many strings each. Columns without names are ``x0``, ``x1``, ...
- A torch `Dataset` of pairs is read once, in order: tensors and arrays, texts, or Pillow images,
  which are kept as PNM files. Its ``classes`` name integer targets.

Their content is what they hold at the moment; nothing of them is cached by name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.arrays import (
    IMAGE,
    TARGET,
    ArrayForm,
    array_form,
    chunked,
    column_array,
    to_numpy,
    write_arrays,
)
from crucibench.data.columnar import (
    Conversion,
    arrow_batches,
    column_kinds,
    convert,
    rows_at_once,
    storable,
)
from crucibench.data.columns import choose_columns
from crucibench.data.frames import frame_batches, frame_schema, named_frame
from crucibench.data.hub import import_datasets
from crucibench.data.images import to_pnm
from crucibench.data.options import TABULAR, ColumnKind, DataOptions, roles_of, split_note
from crucibench.data.texts import text_array, text_columns
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory, load_factory, parse_factory

EXPECTED = (
    "a datasets.Dataset, a torch Dataset of pairs, a DataFrame, (X, y), "
    "or a dict from role to one of these"
)

_SAMPLED = 10_000
"""How many values of a column are looked at to choose columns."""

_AT_ONCE = 256
"""Samples of a torch Dataset that are read at a time."""

Roles = Mapping[str, Any]
"""Objects of one kind by role."""


class PythonSource(DataSource):
    """Calls a factory without arguments, or takes a live object.

    What either may be: a `datasets.Dataset`, a torch `Dataset` of pairs, a data frame, ``(X, y)``
    of arrays, tensors, frames or texts, or a dict from role (``test``, ``train``, ``ood/...``) to
    one of these. A `datasets.DatasetDict` is such a dict. See the module.

    A factory that loads from the hub needs ``HF_DATASETS_OFFLINE=0`` in the environment.

    Options beside those of `DataOptions`: ``layout`` (nchw, nhwc or nhw) of image arrays.
    """

    options: ClassVar[tuple[str, ...]] = (*TABULAR, "layout")
    runs_code: ClassVar[bool] = True

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the factory's file and the project files that it imports."""
        DataOptions.parse(uri, *cls.options)
        return Sources(parse_factory(uri.rest, base).files)

    @classmethod
    def accepts(cls, data: object) -> bool:
        """Whether a live object is data."""
        return is_data(data)

    def read(self, opening: DataOpening) -> RawData:
        """Calls the factory, or takes the live object."""
        options = DataOptions.parse(opening.uri, *self.options, main=opening.main)
        data = opening.live
        if data is None:
            rest = opening.uri.rest
            import_datasets()  # before the factory does, so that it is offline in any order
            factory = load_factory(parse_factory(rest, opening.base))
            data = call_factory(factory, rest)
            if not is_data(data):
                raise InputError(f"{rest}: expected {EXPECTED}, got {type(data).__name__}")
        return read_object(data, opening, options)


def is_data(data: object) -> bool:
    """Whether `read_object` takes this."""
    if isinstance(data, Mapping):
        return bool(data) and all(
            isinstance(name, str) and _kind(value) is not None for name, value in data.items()
        )
    return _kind(data) is not None


def read_object(data: Any, opening: DataOpening, options: DataOptions) -> RawData:
    """Returns live data as a source returns it.

    Raises:
        InputError: one clear sentence.
    """
    items = dict(data) if isinstance(data, Mapping) else {"test": data}
    chosen, left = roles_of(items)
    if "test" not in chosen:
        raise InputError(f"the data has no role test (got {', '.join(items)})")
    roles = {role: items[name] for role, name in chosen.items()}
    kinds = {role: _kind(value) for role, value in roles.items()}
    if len(set(kinds.values())) > 1:
        raise InputError(f"the roles are of different kinds: {kinds}")
    more: dict[str, Any] = {}
    if isinstance(data, Mapping):
        more["split"], more["notes"] = split_note(chosen, left)
    return _READERS[kinds["test"] or ""](roles, opening, options, more)


def _layout_of(opening: DataOpening) -> str:
    """Returns the layout of image arrays that the address gives, "" for none."""
    return opening.uri.query.get("layout", "")


def _kind(data: object) -> str | None:
    if isinstance(data, pd.DataFrame):
        return "frame"
    if isinstance(data, tuple):
        return "pair" if len(data) == 2 and all(map(_has_rows, data)) else None
    if _is_a(data, "datasets", "Dataset"):
        return "dataset"
    torch_data = _is_a(data, "torch.utils.data", "Dataset")
    return "torch" if torch_data and hasattr(data, "__len__") else None


def _has_rows(data: object) -> bool:
    return hasattr(data, "__len__") and not isinstance(data, str | bytes | Mapping)


def _is_a(data: object, module: str, name: str) -> bool:
    # An object of a library that is not loaded can't be there.
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(data, getattr(loaded, name))


def _read_datasets(
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
    columns = choose_columns(kinds, options, lambda name: test[:_SAMPLED][name])
    image = columns.inputs[0]
    if not isinstance(test.features[image], arrays):
        return columns.raw(roles, options, **more)
    shape = tuple(test.features[image].shape)
    if None in shape:
        raise InputError(f"column {image!r}: expected images of one size, got shape {shape}")
    value = np.dtype(test.features[image].dtype)
    form = array_form((0, *shape), value, f"column {image!r}", layout=_layout_of(opening))
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


def _read_frames(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads data frames."""
    frames = {role: named_frame(frame) for role, frame in roles.items()}
    test = frames["test"]
    whole = column_kinds(frame_schema(test))
    columns = choose_columns(whole, options, lambda name: test[name].iloc[:_SAMPLED].tolist())
    for role, frame in frames.items():
        if lacking := [name for name in columns.used if name not in frame.columns]:
            raise InputError(f"the frame of {role} has no column {lacking[0]!r}")

    def fill(conversion: Conversion) -> None:
        used = {role: frame[list(columns.used)] for role, frame in frames.items()}
        for role, frame in used.items():
            schema = frame_schema(frame, beside=list(used.values()))
            conversion.write(role, schema, frame_batches(frame, schema))

    done = convert(opening.scratch, fill)
    return columns.raw(done.roles, options, key=done.key, **more)


def _read_pairs(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads pairs ``(X, y)``."""
    named = getattr(roles["test"][1], "name", None)
    names = _label_names(roles["test"][1], options)
    target = ",".join(names) or options.target or (str(named) if named else TARGET)
    options = replace(options, target=target, classes=None if names else options.classes)
    tables = {role: _as_frame(X) for role, (X, _) in roles.items()}
    if tables["test"] is None:
        return _image_arrays(roles, opening, options, more)
    frames = {}
    for role, table in tables.items():
        if table is None:
            raise InputError(f"X of {role} differs from X of test")
        for name in names or (target,):
            if name in table.columns:
                raise InputError(f"(X, y): X has the target column {name!r} too")
        parts = [roles[role][1]]
        if names:
            matrix = _matrix(roles[role][1])
            if matrix.ndim != 2 or matrix.shape[1] != len(names):
                raise InputError(f"y of {role}: expected {len(names)} columns, one a label")
            parts = list(matrix.T)
        columns = [column_array(part, len(table), "y", "X").to_pandas() for part in parts]
        frames[role] = table.assign(**dict(zip(names or (target,), columns, strict=True)))
    texts = tables["test"].attrs.get("texts", ())
    if texts and not options.features:
        options = replace(options, input=texts)
    return _read_frames(frames, opening, options, more)


def _label_names(y: Any, options: DataOptions) -> tuple[str, ...]:
    """Returns the labels of a y with a column for each; none of one column.

    Raises:
        InputError: if a name holds a comma, which separates them.
    """
    matrix = _matrix(y)
    if matrix.ndim != 2 or matrix.shape[1] < 2:
        return ()
    own = getattr(y, "columns", None)
    names = options.classes or (range(matrix.shape[1]) if own is None else own)
    found = tuple(f"label {name}" if isinstance(name, int) else str(name) for name in names)
    for name in found:
        if "," in name:
            raise InputError(f"(X, y): the label {name!r} holds a comma")
    return found


def _matrix(y: Any) -> Any:
    return to_numpy(y.toarray() if hasattr(y, "toarray") else y)


def _as_frame(X: Any) -> pd.DataFrame | None:
    """Returns X as a frame; None if it is an array of images."""
    if isinstance(X, pd.DataFrame):
        return named_frame(X).reset_index(drop=True)
    if isinstance(X, pd.Series):
        X = X.to_numpy()
    if texts := text_columns(X):
        # Not as strings: those of Arrow hold no lone surrogate.
        frame = pd.DataFrame(texts, dtype=object)
        frame.attrs["texts"] = tuple(texts)
        return frame
    try:
        array = to_numpy(X)
    except ValueError:
        raise InputError("X: expected samples of one shape, got several") from None
    if array.ndim > 2:
        return None
    if array.ndim == 2 and array.dtype == object:
        frame = pd.DataFrame(array).infer_objects()
    else:
        array_form(array.shape, array.dtype, "X")
        frame = pd.DataFrame(array.reshape(len(array), -1))
    return frame.set_axis([f"x{number}" for number in range(frame.shape[1])], axis=1)


def _image_arrays(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    arrays = {role: (to_numpy(X), y) for role, (X, y) in roles.items()}
    test = arrays["test"][0]
    form = array_form(test.shape, test.dtype, "X", layout=_layout_of(opening))
    for role, (X, _) in arrays.items():
        if X.shape[1:] != test.shape[1:] or X.dtype != test.dtype:
            raise InputError(
                f"X of {role} is {X.dtype} of shape {X.shape}, not as X of test: "
                f"{test.dtype} of shape {test.shape}"
            )
    kinds: dict[str, ColumnKind] = {IMAGE: "image", options.target: "other"}
    columns = choose_columns(kinds, options)

    def fill(conversion: Conversion) -> None:
        for role, (X, y) in arrays.items():
            target = column_array(y, len(X), "y", "X")
            others = {options.target: target}
            write_arrays(conversion, role, form, chunked(X), others=others, what="X")

    done = convert(opening.scratch, fill)
    shaped = {"image_shape": form.image_shape, "key": done.key}
    return columns.raw(done.roles, options, **more, **shaped)


def _read_torch(
    roles: Roles, opening: DataOpening, options: DataOptions, more: dict[str, Any]
) -> RawData:
    """Reads torch Datasets."""
    options = replace(options, target=options.target or TARGET)
    classes = getattr(roles["test"], "classes", None)
    if options.classes is None and classes and all(isinstance(name, str) for name in classes):
        options = replace(options, classes=tuple(classes))
    readers = {role: _TorchReader(role, data, _layout_of(opening)) for role, data in roles.items()}
    test = readers["test"]
    schema = test.schema(options.target)
    kinds = column_kinds(schema)
    if test.form is not None and test.form.image_shape:
        kinds[IMAGE] = "image"
    if test.is_text and not options.features:
        options = replace(options, input=tuple(schema.names[:-1]))
    columns = choose_columns(kinds, options)

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
                got = (
                    f"{len(item)} values" if isinstance(item, tuple | list) else type(item).__name__
                )
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


_READERS = {
    "dataset": _read_datasets,
    "frame": _read_frames,
    "pair": _read_pairs,
    "torch": _read_torch,
}
