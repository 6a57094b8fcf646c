"""`npz:FILE`: NumPy arrays, read in a stream."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.arrays import (
    TARGET,
    array_form,
    array_raw,
    chunked,
    column_array,
    write_arrays,
)
from crucibench.data.columnar import Conversion, convert, rows_at_once
from crucibench.data.options import LABELLED, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.suggest import nearest

OPTIONS = (*LABELLED, "groups", "cluster", "id", "layout")

_NAMES = "feature_names"
_WHOLE = (("X", "y"), ("x", "y"), ("images", "labels"), ("data", "target"))
_ROLES = (
    ("x_{role}", "y_{role}"),
    ("X_{role}", "y_{role}"),
    ("{role}_images", "{role}_labels"),
)


class NpzSource(DataSource):
    """Reads arrays ``X`` and ``y``, ``images`` and ``labels``, or ``x_test`` and ``y_test``.

    The last may come with ``x_train`` and ``y_train``, which become the role ``train``;
    ``test_images`` and ``test_labels`` do as well. What an array of samples holds is decided by
    `crucibench.data.arrays.array_form`. Group, cluster and id columns are further arrays, with
    ``_test`` and ``_train`` at their ends, or ``test_`` and ``train_`` before them, where the
    samples have these. ``feature_names`` names the columns of a table.

    Options beside those of `DataOptions`: ``layout`` (nchw, nhwc or nhw).
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the file."""
        DataOptions.parse(uri, *OPTIONS)
        return Sources((existing_file(base, uri.rest, "data file"),))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the file."""
        uri = opening.uri
        options = DataOptions.parse(uri, *OPTIONS)
        path = existing_file(opening.base, uri.rest, "data file")
        arrays = _Npz(path, opening.allow_pickle)
        roles = _roles(arrays, options)
        names = tuple(map(str, arrays.load(_NAMES))) if _NAMES in arrays.names else ()
        forms = {
            role: array_form(
                *arrays.header(pair.samples),
                f"array {pair.samples!r}",
                layout=uri.query.get("layout", ""),
                names=names,
            )
            for role, pair in roles.items()
        }
        form = forms["test"]
        for role, other in forms.items():
            if (other.kind, other.columns) != (form.kind, form.columns):
                raise InputError(f"{path.name}: the samples of {role} are unlike those of test")

        def fill(conversion: Conversion) -> None:
            for role, pair in roles.items():
                count = arrays.header(pair.samples)[0][0]
                others = {
                    column: column_array(
                        arrays.load(name), count, f"array {name!r}", repr(pair.samples)
                    )
                    for column, name in pair.others.items()
                }
                chunks = arrays.chunks(pair.samples)
                what = f"array {pair.samples!r}"
                write_arrays(conversion, role, forms[role], chunks, others=others, what=what)

        settings = {
            "source": "npz",
            "columns": options.choice(),
            "layout": form.layout,
            "pickle": opening.allow_pickle,
        }
        done = convert(opening.scratch, fill, settings=settings, files=(path,), base=opening.base)
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


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError("an array is shorter than its header says")
    return content


def _roles(arrays: _Npz, options: DataOptions) -> dict[str, _Pair]:
    names = arrays.names
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


def _pair(arrays: _Npz, options: DataOptions, samples: str, target: str, around: str) -> _Pair:
    others = {options.target or TARGET: target}
    said = [("groups", name) for name in options.groups]
    said += [("cluster", options.cluster), ("id", options.id)]
    for option, column in said:
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
