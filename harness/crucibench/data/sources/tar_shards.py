"""`tar:GLOB`: shards in the layout of WebDataset: ``KEY.jpg`` and ``KEY.cls`` side by side."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.data.bad_samples import BadSampleTally, refuse
from crucibench.data.class_names import class_file, read_class_file
from crucibench.data.columnar import Conversion, convert, in_pieces, storable
from crucibench.data.columns import Columns
from crucibench.data.files import matching_files
from crucibench.data.hub import import_datasets
from crucibench.data.images import SUFFIXES
from crucibench.data.options import SPLIT, DataOptions
from crucibench.data.texts import text_array
from crucibench.util.errors import InputError
from crucibench.util.untrusted.archive import FILE_AT_MOST, TarFile, tar_files
from crucibench.util.untrusted.content import RefusedError, text_of
from crucibench.util.untrusted.json_text import parse_json, whole_number

_IMAGE = "image"
_KEY = "key"
_INSIDE = "*.tar*"


class TarSource(DataSource):
    """Reads the samples of tar shards: files that follow each other and share a key.

    The address is a file, a pattern of ``*`` and ``[...]``, or a folder of ``.tar`` files. A key is
    a file's path up to the first dot of its last part; what is behind is a field. A sample has an
    image (``.jpg``, ``.png``, ...), or with ``input=FIELD`` a text. Its target is ``.cls`` unless
    ``target`` names another field. Fields of a ``.json`` file are fields of their own. A target is
    a whole number where the first one is, else the name of a class. Keys name the samples.

    Archives that are no plain files of samples are refused; see the module.
    """

    options: ClassVar[tuple[str, ...]] = (
        "target",
        "input",
        "groups",
        "cluster",
        "classes",
        "task",
        *SPLIT,
    )

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the shards."""
        listed, file = class_file(uri, base)
        DataOptions.parse(listed, *cls.options)
        beside = (file,) if file else ()
        return Sources((*matching_files(uri.rest, base, _INSIDE), *beside))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the shards."""
        listed, file = class_file(opening.uri, opening.base)
        options = DataOptions.parse(listed, *self.options)
        if len(options.input) > 1:
            raise InputError("tar: option input: expected one field of texts")
        files = matching_files(opening.uri.rest, opening.base, _INSIDE)
        shards = _Shards(files, options)

        def fill(conversion: Conversion) -> None:
            bad = BadSampleTally()
            schema, batches = shards.convert(bad, opening)
            conversion.write("test", schema, batches, bad)

        settings = {"source": "tar", "columns": options.choice()}
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        text = bool(options.input)
        columns = Columns(
            modality=Modality.TEXT if text else Modality.IMAGE,
            inputs=options.input if text else (_IMAGE,),
            target=options.target or "cls",
            groups=options.groups,
            cluster=options.cluster,
            id=_KEY,
        )
        more = {"classes": read_class_file(file).names} if file else {}
        return columns.raw(done.roles, options, left_out=done.left_out, key=done.key, **more)


@dataclass(frozen=True)
class _Shards:
    """Samples of tar shards as columns."""

    files: Sequence[Path]
    options: DataOptions

    def convert(self, bad: BadSampleTally, opening: DataOpening) -> tuple[Any, Iterator[Any]]:
        """Returns the schema of the samples, and record batches of it."""
        target = self.options.target or "cls"
        others = dict.fromkeys(
            name for name in (*self.options.groups, self.options.cluster) if name
        )
        samples = self._usable(bad, [target, *others])
        first = next(samples, None)
        if first is None:
            left_out = bad.left_out()
            refuse(left_out, "test", left_out.count, "skip")
            raise InputError(
                f"{self.files[0].name}: there are no samples with "
                f"{self.options.input[0] if self.options.input else 'an image'}"
            )
        library = import_datasets()
        numbers = isinstance(_target(first, target), int | float)
        features: dict[str, Any] = {
            name: library.Value("large_string") for name in self.options.input
        } or {_IMAGE: library.Image()}
        whole = isinstance(_target(first, target), int)
        kind = "int64" if whole else "float64" if numbers else "large_string"
        features |= {target: library.Value(kind), _KEY: library.Value("large_string")}
        features |= {name: library.Value("large_string") for name in others}
        schema = storable(library.Features(features).arrow_schema)

        def batches() -> Iterator[Any]:
            done = 0
            for some in in_pieces(itertools.chain([first], samples), _size):
                yield self._batch(some, target, list(others), schema)
                done += len(some)
                opening.progress(done, 0)

        return schema, batches()

    def _usable(self, bad: BadSampleTally, wanted: Sequence[str]) -> Iterator[dict[str, Any]]:
        for path in self.files:
            for key, parts in _samples(path):
                sample = self._sample(key, parts, wanted, bad, path)
                if sample is not None:
                    yield sample

    def _sample(
        self,
        key: str,
        parts: dict[str, bytes],
        wanted: Sequence[str],
        bad: BadSampleTally,
        path: Path,
    ) -> dict[str, Any] | None:
        what = f"{path.name}: sample {key!r}"
        try:
            sample = _fields(parts, [*wanted, *self.options.input], what)
        except RefusedError as error:
            bad.add("undecodable field", str(error))
            return None
        sample[_KEY] = key
        if not self.options.input:
            image = next((name for name in parts if f".{name.lower()}" in SUFFIXES), None)
            if image is None:
                bad.add("no image", f"{what} has no image")
                return None
            sample[_IMAGE] = {"bytes": parts[image], "path": f"{key}.{image}"}
        return sample

    def _batch(
        self, some: Sequence[dict[str, Any]], target: str, others: Sequence[str], schema: Any
    ) -> Any:
        columns = []
        for name in schema.names:
            kind = schema.field(name).type
            values = [sample.get(name) for sample in some]
            if name == target:
                values = [_target(sample, target) for sample in some]
                self._require_like(values, some, target, kind)
            elif name != _IMAGE:
                values = [None if value is None else str(value) for value in values]
            strings = pa.types.is_large_string(kind)
            columns.append(text_array(values) if strings else pa.array(values, kind))
        return pa.record_batch(columns, schema=schema)

    def _require_like(
        self, values: list[Any], some: Sequence[dict[str, Any]], target: str, kind: Any
    ) -> None:
        whole, text = pa.types.is_integer(kind), pa.types.is_large_string(kind)
        for row, value in enumerate(values):
            if text and value is not None:
                values[row] = str(value)
            elif value is not None and not isinstance(value, int if whole else int | float):
                raise InputError(
                    f"target {target!r}: sample {some[row][_KEY]!r} has {value!r}, expected "
                    f"{'a whole number' if whole else 'a number'} as the first sample has"
                )


def _samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yields keys and the files of each: bytes by what stands behind the key."""
    key, parts = "", dict[str, bytes]()
    for file in tar_files(path):
        folder, slash, last = file.name.rpartition("/")
        stem, dot, field = last.partition(".")
        if not dot or not stem:
            continue
        if (own := folder + slash + stem) != key:
            if parts:
                yield key, parts
            key, parts = own, {}
        parts[field] = _once(parts, field, file, path)
    if parts:
        yield key, parts


def _once(parts: dict[str, bytes], field: str, file: TarFile, path: Path) -> bytes:
    if field in parts:
        raise InputError(f"{path.name}: {file.name!r} is there twice")
    if sum(map(len, parts.values())) + len(file.content) > FILE_AT_MOST:
        raise InputError(f"{path.name}: the sample of {file.name!r} is too large")
    return file.content


def _fields(parts: dict[str, bytes], wanted: Sequence[str], what: str) -> dict[str, Any]:
    """Returns the fields of a sample that are wanted, from files of their own or from JSON."""
    found: dict[str, Any] = {}
    if "json" in parts and not set(wanted) <= set(parts):
        content = parse_json(parts["json"], what)
        if not isinstance(content, dict):
            raise RefusedError(what, "a JSON object", type(content).__name__)
        found = {name: content[name] for name in wanted if name in content}
    for name in wanted:
        if name in parts:
            found[name] = text_of(parts[name], what)
    return found


def _target(sample: dict[str, Any], name: str) -> Any:
    """Returns a target as a whole number where it is written as one."""
    value = sample.get(name)
    if isinstance(value, str):
        value = value.strip()
        digits = value.removeprefix("-")
        if not (digits.isdecimal() and digits.isascii()):
            return value or None
        with contextlib.suppress(ValueError):  # of more than 64 bits: a name
            return whole_number(value)
        return value
    if isinstance(value, bool) or (value is not None and not isinstance(value, int | float)):
        return str(value)
    return value


def _size(sample: dict[str, Any]) -> int:
    if _IMAGE in sample:
        return len(sample[_IMAGE]["bytes"])
    return sum(len(value) for value in sample.values() if isinstance(value, str))
