"""`npz:GLOB` and `cifar-npy:IMAGES.npy`: NumPy arrays in files, read in a stream."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.arrays import (
    TARGET,
    ArrayForm,
    array_form,
    array_raw,
    chunked,
    column_array,
    write_arrays,
)
from crucibench.data.class_names import class_file, read_class_file
from crucibench.data.columnar import Conversion, convert, rows_at_once
from crucibench.data.files import matching_files
from crucibench.data.options import LABELLED, SPLIT, DataOptions
from crucibench.util.errors import InputError
from crucibench.util.suggest import hint
from crucibench.util.untrusted.arrays import NpzFile, map_npy

_NAMES = "feature_names"
_OF_ONE_ROLE = (("X", "y"), ("x", "y"), ("images", "labels"), ("data", "target"))
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

    options: ClassVar[tuple[str, ...]] = (*LABELLED, "groups", "cluster", "id", "layout")

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        DataOptions.parse(uri, *cls.options)
        return Sources(matching_files(uri.rest, base))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        options = DataOptions.parse(uri, *self.options, main=opening.main)
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
    for samples, target in _OF_ONE_ROLE:
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
    found = [(samples, target, "{}") for samples, target in _OF_ONE_ROLE if samples in names] + [
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


# `cifar-npy:IMAGES.npy?labels=LABELS.npy`: images and labels in two files, as CIFAR-10-C has.

_SEVERITIES = 5
_LABELS = "labels.npy"
_ROW = "row"


class CifarNpySource(DataSource):
    """Reads images, (N, H, W, C) or (N, C, H, W), and N labels from two ``.npy`` files.

    The images are mapped, never read whole. With ``severity=N`` they are five stretches of equal
    length, of severity 1 to 5, as in CIFAR-10-C and CIFAR-100-C (Hendrycks and Dietterich, 2019),
    and the N-th is taken; the labels may stand there five times or once. A sample's own name is its
    row, within the stretch.
    """

    options: ClassVar[tuple[str, ...]] = ("labels", "severity", "layout", "classes", "task", *SPLIT)

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        return Sources(_files(uri, base)[0])

    @classmethod
    def parts(cls, uri: URI, base: Path) -> Mapping[str, URI]:
        """Returns every stretch of a file, or of those in a folder, as ``CORRUPTION/SEVERITY``.

        In a folder the labels are in ``labels.npy``, if not named otherwise.
        """
        query = dict(uri.query)
        folder = (base / Path(uri.rest).expanduser()).resolve()
        images = [uri.rest]
        if folder.is_dir():
            query.setdefault("labels", f"{uri.rest.rstrip('/')}/{_LABELS}")
            labels = (base / Path(query["labels"]).expanduser()).resolve()
            images = [
                f"{uri.rest.rstrip('/')}/{path.name}"
                for path in sorted(folder.glob("*.npy"))
                if path != labels
            ]
        if not images:
            raise InputError(f"cifar-npy: {uri.rest!r} holds no images: expected CORRUPTION.npy")
        return {
            f"{Path(name).stem}/{severity}": replace(
                uri, rest=name, query={**query, "severity": severity}
            )
            for name in images
            for severity in map(str, range(1, _SEVERITIES + 1))
            if query.get("severity", severity) == severity
        }

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        files, options, classes = _files(uri, opening.base)
        severity = _severity(uri)
        what = files[0].name

        images = map_npy(files[0])
        labels = np.asarray(map_npy(files[1]))
        layout = uri.query.get("layout", "")
        form = array_form(images.shape, images.dtype, what, layout=layout)
        if form.image_shape is None:
            raise InputError(f"{what}: expected images, got an array of shape {images.shape}")
        rows, notes = slice(None), []
        if severity:
            count, odd = divmod(len(images), _SEVERITIES)
            if odd:
                raise InputError(
                    f"cifar-npy: option severity: {what} has {len(images):,} images, expected five "
                    "stretches of equal length"
                )
            rows = slice((severity - 1) * count, severity * count)
            if len(labels) == count:
                labels = np.tile(labels, _SEVERITIES)
            notes = [f"severity {severity}: images {rows.start:,} to {rows.stop - 1:,} of {what}"]
        if len(labels) != len(images):
            raise InputError(
                f"option labels: {files[1].name} has {len(labels):,} labels for {len(images):,} "
                f"images"
            )
        target = column_array(labels[rows], len(labels[rows]), files[1].name, what)

        def fill(conversion: Conversion) -> None:
            chunks = chunked(images[rows])
            names = np.arange(len(target)).astype(str)
            others = {TARGET: target, _ROW: column_array(names, len(target), "rows", what)}
            write_arrays(conversion, "test", form, chunks, others=others, what=what)

        settings = {"source": "cifar-npy", "id": _ROW, "layout": form.layout, "severity": severity}
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        more: dict[str, Any] = {"notes": tuple(notes), "key": done.key, "id": _ROW}
        if classes is not None:
            more["classes"] = classes
        return array_raw(form, done.roles, options, **more)


def _files(uri: URI, base: Path) -> tuple[tuple[Path, ...], DataOptions, tuple[str, ...] | None]:
    """Returns the files, images first, the options, and the classes if a file names them."""
    listed, names = class_file(uri, base)
    options = DataOptions.parse(listed, *CifarNpySource.options)
    if "labels" not in uri.query:
        raise InputError("cifar-npy: option labels is missing: which .npy file holds the labels?")
    files = (
        existing_file(base, uri.rest, "data file"),
        existing_file(base, uri.query["labels"], "option labels: file"),
    )
    if names is None:
        return files, options, None
    return (*files, names), options, read_class_file(names).names


def _severity(uri: URI) -> int:
    value = uri.query.get("severity", "0")
    if value not in {"0", "1", "2", "3", "4", "5"} or (value == "0" and "severity" in uri.query):
        raise InputError(f"cifar-npy: option severity: expected 1 to 5, got {value!r}")
    return int(value)
