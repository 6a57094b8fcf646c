"""Arrow files: written in a stream, opened as memory-mapped tables; columns as strings."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.source import LeftOut
from crucibench.data.bad_samples import BadSampleTally, from_plain, plain, refuse
from crucibench.data.cache import cached_folder, read_unchanged, require_unchanged
from crucibench.data.hub import import_datasets
from crucibench.data.options import ColumnKind
from crucibench.util import doors
from crucibench.util.doors import storing
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digests

if TYPE_CHECKING:
    import datasets

T = TypeVar("T")

FORMAT = 4
"""Of the converted files; 3: a target of several columns; 4: bad samples are counted by role."""

_PIECE_BYTES = 64 << 20
_PIECE_VALUES = 1000


@dataclass(frozen=True)
class Conversion:
    """A folder of the cache that a source fills with an Arrow file per role.

    Attributes:
        folder: where the files go.
        content: returns the bytes of a file, which need not be looked at again then. Raises
            InputError if it changed.
        facts: what the source wants to know of them again; plain data.
        left_out: by role, the samples that are not among its rows; plain data.
    """

    folder: Path
    content: Callable[[Path], bytes]
    roles: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, Any] = field(default_factory=dict)

    def write(
        self, role: str, schema: Any, batches: Iterable[Any], bad: BadSampleTally | None = None
    ) -> None:
        """Writes record batches of `schema`, one at a time.

        Args:
            role: of the rows.
            schema: of the batches.
            batches: the rows.
            bad: counts, by the time the batches end, the samples that are not among them.

        Raises:
            InputError: if there is none.
        """
        path = self.folder / f"{len(self.roles)}.arrow"
        self.roles.append(role)
        rows = 0
        with storing(path):
            stream = doors.open_file(path, "wb")
        with stream as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in batches:
                writer.write(batch)
                rows += batch.num_rows
        left_out = LeftOut() if bad is None else bad.left_out()
        if not rows:
            refuse(left_out, role, left_out.count, "skip")
            raise InputError("the data has no rows" if role == "test" else f"{role} has no rows")
        self.left_out[role] = plain(left_out)


@dataclass(frozen=True)
class Converted:
    """What a source converted.

    Attributes:
        roles: a memory-mapped table per role.
        facts: what the source noted.
        key: the digest of its content, or of what its content follows from.
        left_out: by role, the samples that could not be stored.
    """

    roles: Mapping[str, datasets.Dataset | MappedTable]
    facts: Mapping[str, Any]
    key: str
    left_out: Mapping[str, LeftOut]


def convert(
    scratch: Path,
    fill: Callable[[Conversion], None],
    *,
    settings: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
    base: Path = Path(),
) -> Converted:
    """Lets `fill` convert data to Arrow files, once for each content, and opens these.

    Args:
        scratch: the cache.
        fill: writes each role.
        settings: plain data that decides, with the contents of `files`, what `fill` writes; None
            where only what it wrote can tell.
        files: what it reads.
        base: what their names are relative to.

    Raises:
        InputError: if a file changes meanwhile.
    """

    def write(folder: Path) -> None:
        read: set[Path] = set()

        def content_of(path: Path) -> bytes:
            found = read_unchanged(path, base, digests)
            read.add(path)
            return found

        conversion = Conversion(folder, content_of)
        fill(conversion)
        require_unchanged((path for path in files if path not in read), base, digests)
        content = {
            "roles": conversion.roles, "facts": conversion.facts, "left_out": conversion.left_out,
        }  # fmt: skip
        doors.write_bytes(folder / "content.json", json.dumps(content).encode())

    digests = file_digests(files, base) if settings is not None else {}
    key = ""
    if settings is not None:
        key = data_digest({"format": FORMAT, "files": digests, "settings": dict(settings)})
    folder = cached_folder(scratch / "arrow", key, write)
    content = json.loads((folder / "content.json").read_text(encoding="utf-8"))
    roles = {
        role: _opened(folder / f"{number}.arrow") for number, role in enumerate(content["roles"])
    }
    left_out = {role: from_plain(left) for role, left in content["left_out"].items()}
    return Converted(roles, content["facts"], folder.name, left_out)


def _opened(path: Path) -> datasets.Dataset | MappedTable:
    table = MappedTable(path)
    schema = table.data.schema
    if plain_schema(schema) is not None or _noted(schema) is not None:
        return table
    return import_datasets().Dataset.from_file(str(path))


def rows_at_once(row_bytes: int, at_most: int = 65_536) -> int:
    """Returns how many rows of that size make a batch of about 4 MiB."""
    return max(1, min(at_most, (4 << 20) // max(1, row_bytes)))


def in_pieces(values: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Yields values in lists that fit in memory: of about 64 MiB, and 1,000 values, at most.

    Args:
        values: in their order.
        size_of: returns the bytes of one.
    """
    piece: list[T] = []
    size = 0
    for value in values:
        piece.append(value)
        size += size_of(value)
        if size > _PIECE_BYTES or len(piece) >= _PIECE_VALUES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def column_kinds(schema: Any) -> dict[str, ColumnKind]:
    """Returns what each column of an Arrow schema, or of one that `datasets` made, holds."""
    kinds: dict[str, ColumnKind] = {}
    for column in schema:
        kind = column.type
        if kind == _ENCODED and _features(schema).get(column.name, {}).get("_type") == "Image":
            kinds[column.name] = "image"
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            kinds[column.name] = "string"
        else:
            kinds[column.name] = "other"
    return kinds


def storable(schema: Any) -> Any:
    """Returns the schema in which `datasets` keeps columns of `schema`, and opens them unchanged.

    Dictionaries become their values; what `datasets` and data frames note of a column stays.

    Raises:
        InputError: if there is a type that it does not know.
    """
    plain = plain_schema(schema)
    if plain is not None:
        return plain
    library = import_datasets()
    features: dict[str, Any] = {}
    for column in schema:
        try:
            features |= library.Features.from_arrow_schema(pa.schema([column], schema.metadata))
        except (ValueError, TypeError, NotImplementedError):
            raise InputError(
                f"column {column.name!r}: values of type {column.type} can't be read"
            ) from None
    kept = library.Features(features).arrow_schema
    fields = [field.with_metadata(schema.field(field.name).metadata) for field in kept]
    return pa.schema(fields, kept.metadata)


def arrow_batches(
    dataset: datasets.Dataset | MappedTable, columns: Sequence[str], rows: int
) -> Iterator[Any]:
    """Yields Arrow tables of at most `rows` rows of some columns."""
    yield from dataset.select_columns(list(columns)).with_format("arrow").iter(rows)


def as_text(column: Any, what: str) -> Any:
    """Returns a column's values as strings: whole numbers without a point, True and False.

    A value's text depends on nothing but the value.

    Raises:
        InputError: if `what` holds lists or the like.
    """
    array = column.combine_chunks()
    kind = array.type
    if isinstance(array, pa.ExtensionArray):
        array, kind = array.storage, array.storage.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_boolean(kind):
        return pc.cast(pc.if_else(array, "True", "False"), pa.large_string())
    if pa.types.is_floating(kind):
        array = pc.cast(array, pa.float64())
        array = pc.if_else(pc.is_nan(array), None, array)
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less(pc.abs(array), 2.0**53))
        numbers = pc.cast(pc.if_else(whole, array, 0.0), pa.int64())
        return pc.if_else(
            whole, pc.cast(numbers, pa.large_string()), pc.cast(array, pa.large_string())
        )
    if pa.types.is_nested(kind):
        raise InputError(f"{what}: values of type {kind} can't be groups, clusters or ids")
    return pc.cast(array, pa.large_string())


def type_family(kind: Any) -> str:
    """Returns what a type holds: number, text, bool or time; else the type's own name."""
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    return "time" if pa.types.is_temporal(kind) else str(kind)


# Arrow files of plain columns, mapped from disk: importing `datasets` would take 0.4 s.

_NOTED = b"huggingface"
_ENCODED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@dataclass(frozen=True)
class ClassColumn:
    """A column of class indices, -1 or missing where there is none; as `datasets.ClassLabel`.

    Attributes:
        names: of the classes, by index.
    """

    names: tuple[str, ...]


def image_schema(names: Sequence[str] | None) -> Any:
    """Returns the schema of encoded images and their paths as `datasets` would make and note it.

    Args:
        names: of the classes; None where there are no labels.
    """
    label = {} if names is None else {"label": {"names": list(names), "_type": "ClassLabel"}}
    features = {
        "image": {"_type": "Image"}, **label, "path": {"dtype": "string", "_type": "Value"},
    }  # fmt: skip
    kinds = {"image": _ENCODED, "label": pa.int64(), "path": pa.string()}
    note = json.dumps({"info": {"features": features}})
    return pa.schema([(name, kinds[name]) for name in features], {_NOTED: note})


def _noted(schema: Any) -> dict[str, ClassColumn] | None:
    """Returns the columns of classes where all that `datasets` notes of a schema is known here.

    Known are encoded images, classes and plain values.
    """
    features = _features(schema)
    found: dict[str, ClassColumn] = {}
    for column in schema:
        match features.get(column.name):
            case {"_type": "Image", **more} if not more and column.type == _ENCODED:
                pass
            case {"_type": "ClassLabel", "names": [*names]}:
                found[column.name] = ClassColumn(tuple(names))
            case {"_type": "Value"} if _plain_type(column.type) is not None:
                pass
            case _:
                return None
    return found


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Returns what `datasets` notes of each column of a schema."""
    note = json.loads((schema.metadata or {}).get(_NOTED, b"{}"))
    found: dict[str, dict[str, Any]] = note.get("info", {}).get("features", {})
    return found


def _plain_type(kind: Any) -> Any:
    """Returns the type in which values of a plain type are kept; None where it isn't plain.

    Plain are numbers, bools, strings, dictionaries of them (their values are kept), and arrays of
    numbers of one length.
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_fixed_size_list(kind):
        inner = kind.value_type
        return kind if pa.types.is_integer(inner) or pa.types.is_floating(inner) else None
    plain = (
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    )  # fmt: skip
    return kind if plain else None


def plain_schema(schema: Any) -> Any:
    """Returns `schema` with dictionaries as their values; None where a column is not plain.

    What `datasets` notes of a schema (class names, images) is not plain either.
    """
    kinds = [_plain_type(field.type) for field in schema]
    if None in kinds or _NOTED in (schema.metadata or {}):
        return None
    fields = [field.with_type(kind) for field, kind in zip(schema, kinds, strict=True)]
    return pa.schema(fields, schema.metadata)


@final
class MappedTable:
    """The columns of a mapped Arrow file; answers as a `datasets.Dataset` in the format "arrow".

    Attributes:
        data: the whole as an Arrow table, whose columns stay on disk.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
        """Maps the file; `columns` are those that it shows."""
        self._path = path
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            table = stream.read_all()
        self.data = table if columns is None else table.select(list(columns))
        self._batches = self.data.to_batches()
        self._ends = np.cumsum([batch.num_rows for batch in self._batches], dtype=np.int64)

    def __reduce__(self) -> tuple[type[MappedTable], tuple[Path, list[str]]]:
        return MappedTable, (self._path, self.column_names)

    @property
    def column_names(self) -> list[str]:
        """The columns, in order."""
        return list(self.data.column_names)

    @property
    def features(self) -> dict[str, Any]:
        """What each column holds: classes, or values of an Arrow type."""
        kinds = {field.name: field.type for field in self.data.schema}
        return kinds | (_noted(self.data.schema) or {})

    def select_columns(self, columns: Sequence[str]) -> MappedTable:
        """Returns the table of some columns."""
        return MappedTable(self._path, columns)

    def with_format(self, kind: str | None) -> MappedTable:
        """Returns the table itself: it has one format."""
        return self

    def __len__(self) -> int:
        return int(self.data.num_rows)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Any:
        """Returns an Arrow table of some rows, in their order."""
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            return self.data.slice(first, max(0, last - first))
        # Arrow joins all batches before it takes rows of them; only those with rows are touched.
        rows = np.asarray(rows, dtype=np.int64)
        numbers = np.searchsorted(self._ends, rows, side="right")
        order = np.argsort(numbers, kind="stable")
        pieces = []
        for number in np.unique(numbers):
            batch = self._batches[number]
            start = self._ends[number] - batch.num_rows
            pieces.append(batch.take(pa.array(rows[numbers == number] - start)))
        if not pieces:
            return self.data.slice(0, 0)
        found = pa.Table.from_batches(pieces)
        if (np.diff(order) == 1).all():
            return found
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        return found.combine_chunks().take(pa.array(back))

    def iter(self, rows: int) -> Iterator[Any]:
        """Yields Arrow tables of at most `rows` rows."""
        for first in range(0, len(self), rows):
            yield self.data.slice(first, rows)
