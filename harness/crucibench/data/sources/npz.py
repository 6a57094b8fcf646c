"""`npz:GLOB`: NumPy arrays, read in a stream."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

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
from crucibench.util.suggest import hint
from crucibench.util.untrusted.arrays import NpzFile

OPTIONS = (*LABELLED, "groups", "cluster", "id", "layout")

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
            arrays = NpzFile(path, opening.allow_pickle)
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
class _Part:
    """One file and the arrays of each role in it."""

    arrays: NpzFile
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
        name = self.roles[role].samples
        shape, dtype = self.arrays.header(name)
        step = rows_at_once(dtype.itemsize * math.prod(shape[1:]))
        for piece in self.arrays.pieces(name, step):
            yield from chunked(piece)


def _joined(name: str, columns: Sequence[Mapping[str, Any]]) -> Any:
    try:
        return pa.concat_arrays([part[name] for part in columns])
    except pa.ArrowException:
        kinds = ", ".join(dict.fromkeys(str(part[name].type) for part in columns))
        raise InputError(f"column {name!r}: the files hold different types: {kinds}") from None


def _labelled(options: DataOptions, parts: Sequence[_Part]) -> DataOptions:
    """Returns the options for a suite's own data: with the columns that its arrays have."""
    if options.main is None:
        return options
    columns = set.intersection(*(set(part.roles["test"].others) for part in parts))
    target = options.target or TARGET
    return replace(options.beside(list(columns)), target=target if target in columns else "")


def _roles(arrays: NpzFile, options: DataOptions) -> dict[str, _Pair]:
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


def _suite_role(arrays: NpzFile, options: DataOptions) -> _Pair:
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


def _pair(arrays: NpzFile, options: DataOptions, samples: str, target: str, around: str) -> _Pair:
    others = {options.target or TARGET: target} if target else {}
    wanted = [("groups", name) for name in options.groups]
    wanted += [("cluster", options.cluster), ("id", options.id)]
    for option, column in wanted:
        if not column:
            continue
        name = around.format(column)
        if name not in arrays.names:
            raise InputError(
                f"option {option}: there is no array {name!r}{hint(name, arrays.names)} "
                f"(arrays: {', '.join(arrays.names)})"
            )
        others[column] = name
    return _Pair(samples, others)
