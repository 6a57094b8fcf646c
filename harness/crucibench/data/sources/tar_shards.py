"""`tar:GLOB`: shards in the layout of WebDataset: ``KEY.jpg`` and ``KEY.cls`` side by side.

Archives are read in a stream and written nowhere. Nobody vouches for them: names that lead out,
links, devices, sparse files, files of an absurd size, and archives that unpack to far more than
they hold are refused.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.data.bad_samples import BadSampleTally, from_plain, plain, refuse
from crucibench.data.class_names import class_file, read_class_file
from crucibench.data.columnar import Conversion, convert, in_pieces, storable
from crucibench.data.columns import Columns
from crucibench.data.files import matching_files
from crucibench.data.hub import import_datasets
from crucibench.data.images import SUFFIXES
from crucibench.data.options import SPLIT, DataOptions
from crucibench.data.texts import text_array
from crucibench.util.errors import InputError

OPTIONS = ("target", "input", "groups", "cluster", "classes", "task", *SPLIT)

_IMAGE = "image"
_KEY = "key"
_INSIDE = "*.tar*"

FILE_AT_MOST = 256 << 20
"""Bytes of one file in an archive."""

RATIO_AT_MOST = 100
"""What a compressed archive may unpack to, as a multiple of its size, beyond `FREE`."""

FREE = 256 << 20
"""Bytes that an archive may unpack to whatever its size."""

_PIECE = 1 << 20
_HEADER_AT_MOST = 1 << 20
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


class TarSource(DataSource):
    """Reads the samples of tar shards: files that follow each other and share a key.

    The address is a file, a pattern of ``*`` and ``[...]``, or a folder of ``.tar`` files. A key is
    a file's path up to the first dot of its last part; what is behind is a field. A sample has an
    image (``.jpg``, ``.png``, ...), or with ``input=FIELD`` a text. Its target is ``.cls`` unless
    ``target`` names another field. Fields of a ``.json`` file are fields of their own. A target is
    a whole number where the first one is, else the name of a class. Keys name the samples.

    Archives that are no plain files of samples are refused; see the module.
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the shards."""
        listed, file = class_file(uri, base)
        DataOptions.parse(listed, *OPTIONS)
        beside = (file,) if file else ()
        return Sources((*matching_files(uri.rest, base, _INSIDE), *beside))

    def read(self, opening: DataOpening) -> RawData:
        """Reads the shards."""
        listed, file = class_file(opening.uri, opening.base)
        options = DataOptions.parse(listed, *OPTIONS)
        if len(options.input) > 1:
            raise InputError("tar: option input: expected one field of texts")
        files = matching_files(opening.uri.rest, opening.base, _INSIDE)
        shards = _Shards(files, options)

        def fill(conversion: Conversion) -> None:
            bad = BadSampleTally()
            schema, batches = shards.convert(bad, opening)
            conversion.write("test", schema, batches, bad)
            conversion.facts["left_out"] = plain(bad.left_out())

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
        left_out = {"test": from_plain(done.facts["left_out"])}
        more = {"classes": read_class_file(file).names} if file else {}
        return columns.raw(done.roles, options, left_out=left_out, key=done.key, **more)


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
            sample = _fields(parts, [*wanted, *self.options.input])
        except (ValueError, RecursionError) as error:
            bad.add("undecodable field", f"{what} can't be read: {error}")
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


def _fields(parts: dict[str, bytes], wanted: Sequence[str]) -> dict[str, Any]:
    """Returns the fields of a sample that are wanted, from files of their own or from JSON."""
    found: dict[str, Any] = {}
    if "json" in parts and not set(wanted) <= set(parts):
        content = json.loads(parts["json"])
        if not isinstance(content, dict):
            raise ValueError("its JSON is no object")
        found = {name: content[name] for name in wanted if name in content}
    for name in wanted:
        if name in parts:
            found[name] = parts[name].decode("utf-8-sig")
    return found


def _target(sample: dict[str, Any], name: str) -> Any:
    """Returns a target as a whole number where it is written as one."""
    value = sample.get(name)
    if isinstance(value, str):
        value = value.strip()
        digits = value.removeprefix("-")
        return int(value) if digits.isdecimal() and digits.isascii() else value or None
    if isinstance(value, bool) or (value is not None and not isinstance(value, int | float)):
        return str(value)
    return value


def _size(sample: dict[str, Any]) -> int:
    if _IMAGE in sample:
        return len(sample[_IMAGE]["bytes"])
    return sum(len(value) for value in sample.values() if isinstance(value, str))


@dataclass(frozen=True)
class TarFile:
    """A file of an archive.

    Attributes:
        name: with ``/`` between folders.
        content: its bytes.
    """

    name: str
    content: bytes


def tar_files(path: Path) -> Iterator[TarFile]:
    """Yields the files of an archive, plain or compressed by gzip, bzip2 or xz, in their order.

    Memory holds one of them.

    Raises:
        InputError: if the archive is damaged or refused.
    """
    try:
        with _opened(path) as stream:
            forward = _Forward(stream, path)
            with tarfile.TarFile(fileobj=forward, mode="r") as archive:  # type: ignore[arg-type]
                member = archive.next()
                while member is not None:
                    _require_harmless(member, path)
                    if member.isreg():
                        forward.allow(member.size)
                        content = archive.extractfile(member)
                        if content is not None:
                            yield TarFile(member.name, content.read())
                        forward.allow(0)
                    # What was read is forgotten: memory does not grow with the archive.
                    archive.members.clear()  # type: ignore[attr-defined]
                    member = archive.next()
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path.name} can't be read as tar: {error}") from None


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if magic[:3] == b"BZh":
        return bz2.open(path, "rb")
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(path, "rb")
    return path.open("rb")


def _require_harmless(member: tarfile.TarInfo, archive: Path) -> None:
    what = f"{archive.name}: {member.name!r}"
    parts = member.name.replace("\\", "/").split("/")
    if ".." in parts or member.name.startswith(("/", "\\")) or PureWindowsPath(member.name).drive:
        raise InputError(f"{what} leads out of the archive: it is not read")
    if member.issym() or member.islnk():
        raise InputError(f"{what} is a link: archives with links are not read")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise InputError(f"{what} is no plain file or folder: archives with such are not read")
    if member.size > FILE_AT_MOST:
        raise InputError(
            f"{what} has {member.size:,} bytes, expected at most {FILE_AT_MOST:,}: it is not read"
        )


class _Forward:
    """A stream that `tarfile` reads forward only, and never much of at once.

    `tarfile` reads what a header announces, however much that is; and what a compressed stream
    unpacks to has no bound.
    """

    def __init__(
        self, stream: IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, path: Path
    ) -> None:
        self._stream = stream
        self._path = path
        self._place = 0
        self._at_once = _HEADER_AT_MOST
        self._total = FREE + RATIO_AT_MOST * path.stat().st_size

    def allow(self, size: int) -> None:
        """Lets the next read be of `size` bytes."""
        self._at_once = max(size, _HEADER_AT_MOST)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        if whence != 0 or place < self._place:
            raise tarfile.StreamError("expected to go forward")
        while self._place < place:
            if not self._take(min(_PIECE, place - self._place)):
                break
        return self._place

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._at_once:
            raise InputError(
                f"{self._path.name}: a header announces {size:,} bytes, expected at most "
                f"{self._at_once:,}: it is not read"
            )
        return self._take(size)

    def _take(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._place += len(content)
        if self._place > self._total:
            raise InputError(
                f"{self._path.name} unpacks to more than {RATIO_AT_MOST} times its size: it is not "
                "read"
            )
        return content
