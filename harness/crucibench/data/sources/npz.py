"""`npz:GLOB`: NumPy arrays, read in a stream."""

from __future__ import annotations

import itertools
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.arrays import (
    TARGET,
    ArrayForm,
    array_form,
    array_raw,
    chunked,
    column_array,
    write_arrays,
)
from crucibench.data.columnar import Conversion, convert, rows_at_once
from crucibench.data.files import matching_files
from crucibench.data.options import LABELLED, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.suggest import nearest

OPTIONS = (*LABELLED, "groups", "cluster", "id", "layout")

_FREE = 256 << 20
"""Bytes that an array may unpack to whatever its size in the file."""
_RATIO_AT_MOST = 200
"""What it may unpack to beyond that, as a multiple of its size."""
_NAMES = "feature_names"
_WHOLE = (("X", "y"), ("x", "y"), ("images", "labels"), ("data", "target"))
_ROLES = (
    ("x_{role}", "y_{role}"),
    ("X_{role}", "y_{role}"),
    ("{role}_images", "{role}_labels"),
)
_AROUND = ("{}_test", "{}_test", "test_{}")


class NpzSource(DataSource):
    """Reads arrays ``X`` and ``y``, ``images`` and ``labels``, or ``x_test`` and ``y_test``.

    The last may come with ``x_train`` and ``y_train``, which become the role ``train``;
    ``test_images`` and ``test_labels`` do as well. What an array of samples holds is decided by
    `crucibench.data.arrays.array_form`. Group, cluster and id columns are arrays of their own, with
    ``_test`` and ``_train`` at their ends, or ``test_`` and ``train_`` before them, where the
    samples have these. ``feature_names`` names the columns of a table.

    Several files, named by a pattern, hold the same arrays and are read in the order of their
    names. An array that unpacks to far more than it takes in the file is refused.

    Options beside those of `DataOptions`: ``layout`` (nchw, nhwc or nhw).
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        DataOptions.parse(uri, *OPTIONS)
        return Sources(matching_files(uri.rest, base))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        options = DataOptions.parse(uri, *OPTIONS, main=opening.main)
        files = matching_files(uri.rest, opening.base)
        parts = []
        for path in files:
            arrays = _Npz(path, opening.allow_pickle)
            parts.append(_Part(arrays, _roles(arrays, options)))
        options = _labelled(options, parts)
        layout = uri.query.get("layout", "")
        form = parts[0].form("test", layout)
        roles = list(parts[0].roles)
        for part in parts:
            if list(part.roles) != roles:
                raise InputError(
                    f"{part.arrays.path.name} and {files[0].name} have different roles"
                )
            for role in roles:
                other = part.form(role, layout)
                if (other.kind, other.columns) != (form.kind, form.columns):
                    raise InputError(
                        f"{part.arrays.path.name}: the samples of {role} differ from those of test"
                    )

        def fill(conversion: Conversion) -> None:
            for role in roles:
                columns = [part.others(role) for part in parts]
                others = {name: _joined(name, columns) for name in columns[0]}
                chunks = itertools.chain.from_iterable(part.chunks(role) for part in parts)
                what = f"array {parts[0].roles[role].samples!r}"
                write_arrays(conversion, role, form, chunks, others=others, what=what)

        settings = {
            "source": "npz",
            "columns": options.choice(),
            "layout": form.layout,
            "pickle": opening.allow_pickle,
        }
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        split = "all test" if len(roles) == 1 else "as the file names its arrays"
        return array_raw(form, done.roles, options, split=split, key=done.key)


@dataclass(frozen=True)
class _Pair:
    """The arrays of a role: its samples, and its other columns by their names."""

    samples: str
    others: Mapping[str, str]


@dataclass(frozen=True)
class _Npz:
    """The arrays of a file; one is read in pieces, so that it need not fit in memory."""

    path: Path
    allow_pickle: bool

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The arrays' names."""
        with self._zip() as archive:
            names = [name for name in archive.namelist() if name.endswith(".npy")]
        return tuple(name.removesuffix(".npy") for name in names)

    def header(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Returns the shape and the dtype of an array."""
        with self._array(name) as (_, shape, _, dtype):
            return shape, self.load(name).dtype if dtype.hasobject else dtype

    def load(self, name: str) -> NDArray[Any]:
        """Returns an array, whole."""
        self._require_size(name)
        try:
            with np.load(self.path, allow_pickle=self.allow_pickle) as arrays:
                array = arrays[name]
            return array.astype(str) if array.dtype.hasobject else np.asarray(array)
        except ValueError:
            raise InputError(
                f"array {name!r} of {self.path.name} holds Python objects, which only unpickling "
                "can read: save it as numbers or strings, or say --allow-pickle"
            ) from None
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise self._damaged(error) from None

    def chunks(self, name: str) -> Iterator[NDArray[Any]]:
        """Yields the rows of an array in pieces of a few MiB."""
        self._require_size(name)
        with self._array(name) as (stream, shape, by_columns, dtype):
            if by_columns or dtype.hasobject or not shape:
                yield from chunked(self.load(name))
                return
            inner = shape[1:]
            row = dtype.itemsize * int(np.prod(inner, dtype=np.int64))
            step = rows_at_once(row)
            for start in range(0, shape[0], step):
                count = min(step, shape[0] - start)
                try:
                    content = _exactly(stream, count * row)
                except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
                    raise self._damaged(error) from None
                yield np.frombuffer(content, dtype).reshape(count, *inner)

    def _require_size(self, name: str) -> None:
        """Raises InputError if an array unpacks to far more than the file, or is not all there."""
        with self._zip() as archive:
            stored = archive.getinfo(f"{name}.npy")
        unpacked = stored.file_size
        if unpacked > _FREE + _RATIO_AT_MOST * stored.compress_size:
            raise InputError(
                f"array {name!r} of {self.path.name} unpacks from {stored.compress_size:,} to "
                f"{unpacked:,} bytes: it is not read"
            )
        with self._array(name) as (stream, shape, _, dtype):
            announced = dtype.itemsize * math.prod(shape)
            if not dtype.hasobject and announced > unpacked - stream.tell():
                raise self._damaged(EOFError("an array is shorter than its header says"))

    @contextmanager
    def _array(self, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
        """Opens an array behind its header."""
        formats = np.lib.format
        with self._zip() as archive, archive.open(f"{name}.npy") as stream:
            try:
                version = formats.read_magic(stream)
                read = {
                    (1, 0): formats.read_array_header_1_0,
                    (2, 0): formats.read_array_header_2_0,
                }[version]
                shape, by_columns, dtype = read(stream)
            except (ValueError, KeyError) as error:
                raise InputError(f"array {name!r} of {self.path.name}: {error}") from None
            yield stream, shape, by_columns and len(shape) > 1, dtype

    def _zip(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile):
            raise InputError(f"{self.path.name} is no .npz file (numpy.savez writes one)") from None

    def _damaged(self, error: Exception) -> InputError:
        return InputError(f"{self.path.name} is damaged: {error}")


@dataclass(frozen=True)
class _Part:
    """One file and the arrays of each role in it."""

    arrays: _Npz
    roles: Mapping[str, _Pair]

    def form(self, role: str, layout: str) -> ArrayForm:
        """Returns how the samples of a role lie in columns."""
        arrays, name = self.arrays, self.roles[role].samples
        names = tuple(map(str, arrays.load(_NAMES))) if _NAMES in arrays.names else ()
        return array_form(*arrays.header(name), f"array {name!r}", layout=layout, names=names)

    def others(self, role: str) -> dict[str, Any]:
        """Returns the columns beside the samples of a role."""
        pair = self.roles[role]
        count = self.arrays.header(pair.samples)[0][0]
        return {
            column: column_array(
                self.arrays.load(name), count, f"array {name!r}", repr(pair.samples)
            )
            for column, name in pair.others.items()
        }

    def chunks(self, role: str) -> Iterator[NDArray[Any]]:
        """Yields the samples of a role in pieces."""
        return self.arrays.chunks(self.roles[role].samples)


def _joined(name: str, columns: Sequence[Mapping[str, Any]]) -> Any:
    try:
        return pa.concat_arrays([part[name] for part in columns])
    except pa.ArrowException:
        kinds = ", ".join(dict.fromkeys(str(part[name].type) for part in columns))
        raise InputError(f"column {name!r}: the files hold different types: {kinds}") from None


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("an array is shorter than its header says")
    return content


def _labelled(options: DataOptions, parts: Sequence[_Part]) -> DataOptions:
    """Returns the options for a suite's own data: with the columns that its arrays have."""
    if options.main is None:
        return options
    columns = set.intersection(*(set(part.roles["test"].others) for part in parts))
    target = options.target or TARGET
    return replace(options.beside(list(columns)), target=target if target in columns else "")


def _roles(arrays: _Npz, options: DataOptions) -> dict[str, _Pair]:
    names = arrays.names
    if options.main is not None:
        return {"test": _suite_role(arrays, options)}
    for samples, target in _WHOLE:
        if samples in names and target in names:
            return {"test": _pair(arrays, options, samples, target, "{}")}
    roles: dict[str, _Pair] = {}
    for samples, target in _ROLES:
        for role in ("test", "train"):
            pair = samples.format(role=role), target.format(role=role)
            if role not in roles and set(pair) <= set(names):
                around = f"{role}_{{}}" if samples.startswith("{") else f"{{}}_{role}"
                roles[role] = _pair(arrays, options, *pair, around)
    if "test" not in roles:
        raise InputError(
            f"{arrays.path.name}: expected arrays X and y, images and labels, or x_test and "
            f"y_test, got {', '.join(names) or 'none'}"
        )
    return roles


def _suite_role(arrays: _Npz, options: DataOptions) -> _Pair:
    """Returns the arrays of the role test, which may lack a target and what the main data has."""
    names = arrays.names
    found = [(samples, target, "{}") for samples, target in _WHOLE if samples in names] + [
        (samples.format(role="test"), target.format(role="test"), around)
        for (samples, target), around in zip(_ROLES, _AROUND, strict=True)
        if samples.format(role="test") in names
    ]
    # An array with its target goes before one without.
    found.sort(key=lambda one: one[1] not in names)
    if not found and len(names) == 1:
        found = [(names[0], "", "{}")]
    if not found:
        raise InputError(
            f"{arrays.path.name}: expected an array X, images, data or x_test, "
            f"got {', '.join(names) or 'none'}"
        )
    samples, target, around = found[0]
    main = options.main
    if main is not None and (main.labels == "ignored" or target not in names):
        target = ""
    there = [name for name in (main.groups if main else ()) if around.format(name) in names]
    for name in (main.cluster, main.id) if main else ():
        there += [name] if name and around.format(name) in names else []
    return _pair(arrays, options.beside(there), samples, target, around)


def _pair(arrays: _Npz, options: DataOptions, samples: str, target: str, around: str) -> _Pair:
    others = {options.target or TARGET: target} if target else {}
    wanted = [("groups", name) for name in options.groups]
    wanted += [("cluster", options.cluster), ("id", options.id)]
    for option, column in wanted:
        if not column:
            continue
        name = around.format(column)
        if name not in arrays.names:
            guess = nearest(name, arrays.names)
            hint = f"; did you mean {guess!r}?" if guess else ""
            raise InputError(
                f"option {option}: there is no array {name!r}{hint} "
                f"(arrays: {', '.join(arrays.names)})"
            )
        others[column] = name
    return _Pair(samples, others)
