"""`csv:GLOB` and `parquet:GLOB`: tables in files, read in a stream."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, MainData, RawData
from crucibench.contracts.uri import URI
from crucibench.data.bad_samples import BadSampleTally
from crucibench.data.columnar import Conversion, column_kinds, convert, storable, type_family
from crucibench.data.columns import Columns, choose_columns
from crucibench.data.files import named_files, named_sources
from crucibench.data.frames import NULLABLE, category_hint, frame_field
from crucibench.data.modalities import reader_of
from crucibench.data.options import TABULAR, ColumnKind, DataOptions, require_unique
from crucibench.util.errors import InputError
from crucibench.util.untrusted.csv_text import beginning, require_columns
from crucibench.util.untrusted.json_text import parse_json

MISSING = (
    "",
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""What pandas reads as missing."""


BLOCK = 16 << 20
"""Bytes that are read at once; no row may be longer."""

_SAMPLE = 10_000
_SHOWN = 60
_WHOLE = r"^\s*[+-]?[0-9]+\s*$"
_NOTHING = pa.scalar(None, pa.string())
_TRUE = ("True", "TRUE", "true")
_FALSE = ("False", "FALSE", "false")


class CsvSource(DataSource):
    """Reads CSV files, perhaps compressed (``.gz``, ...), as pandas would, whatever their size.

    The address is a file, a pattern of ``*``, ``**`` and ``[...]`` or an ``https://`` or ``s3://``
    address; several files have the same header and are read in the order of their names. A row of
    more or fewer values than the header, and one that is not in the file's encoding, is a bad
    sample.

    A column's type is the first of boolean, integer, float and string that all of its values have.
    What `MISSING` lists is missing, but in texts and in strings of the target; there, and in id and
    cluster, a value is what stands in the file. A first column without a name, as data frames write
    their index, is a feature only where the user names it (``Unnamed: 0``).

    Options beside those of `DataOptions`: ``delimiter`` (a comma, or a tab for ``.tsv``),
    ``encoding`` (UTF-8), and ``missing``, a list in place of `MISSING`.
    """

    options: ClassVar[tuple[str, ...]] = (*TABULAR, "delimiter", "encoding", "missing")

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        DataOptions.parse(uri, *cls.options)
        return named_sources(uri.rest, base)

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        options = DataOptions.parse(uri, *self.options, main=opening.main)
        files = named_files(opening)
        missing = ("", *uri.names("missing")) if "missing" in uri.query else MISSING
        table = CsvFiles(tuple(files), *_dialect(uri, files[0]), missing)

        def fill(conversion: Conversion) -> None:
            kinds = _widened(table.kinds(), opening.main)
            held: dict[str, ColumnKind] = {
                name: "string" if kind == "string" or name in options.input else "other"
                for name, kind in kinds.items()
            }
            columns = choose_columns(
                held,
                options,
                table.first,
                leave_out=table.unnamed,
            )
            conversion.facts["columns"] = columns.as_dict()
            conversion.facts["notes"] = [
                f"a column without a name is left out ({name})"
                for name in table.unnamed
                if name not in columns.used
            ]
            bad = BadSampleTally()
            schema, batches = table.typed(columns, kinds, bad, opening.progress)
            conversion.write("test", schema, batches, bad)

        settings = {
            "source": "csv",
            "columns": options.choice(),
            "dialect": [table.delimiter, table.encoding, list(missing)],
        }
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        columns = Columns.from_dict(done.facts["columns"])
        return columns.raw(
            done.roles,
            options,
            key=done.key,
            notes=tuple(done.facts["notes"]),
            left_out=done.left_out,
        )


def _dialect(uri: URI, path: Path) -> tuple[str, str]:
    tab = ".tsv" in path.suffixes
    delimiter = uri.query.get("delimiter", "\t" if tab else ",")
    if len(delimiter) != 1:
        raise InputError(f"csv: option delimiter: expected one character, got {delimiter!r}")
    encoding = uri.query.get("encoding", "utf-8")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise InputError(f"csv: option encoding: unknown encoding {encoding!r}") from None
    return delimiter, encoding


def _widened(kinds: dict[str, str], main: MainData | None) -> dict[str, str]:
    """Returns the types of a CSV file's columns, widened to what the main data set has.

    A code like ``007`` that is a string there is one here, even if all codes of this file are
    numbers.
    """
    if main is None:
        return kinds
    widened = dict(kinds)
    for name, wanted in main.types.items():
        if name not in kinds:
            continue
        if type_family(wanted) == "text":
            widened[name] = "string"
        elif pa.types.is_floating(wanted) and kinds[name] == "int64":
            widened[name] = "double"
    return widened


@dataclass(frozen=True)
class CsvFiles:
    """CSV files of one header as a stream of columns of strings.

    Attributes:
        files: in the order of their rows.
        delimiter: one character.
        encoding: of the files.
        missing: what spells a missing value.
    """

    files: tuple[Path, ...]
    delimiter: str
    encoding: str
    missing: tuple[str, ...]

    def kinds(self) -> dict[str, str]:
        """Returns each column's type: bool, int64, double or string."""
        possible = {name: ["bool", "int64", "double"] for name in self._names}
        for batch in self._batches():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                values = column.filter(
                    pc.invert(pc.is_in(column, value_set=pa.array(self.missing, pa.string())))
                )
                possible[name] = [kind for kind in possible[name] if _fits(values, kind)]
        # A column without any value has fitted all: it is a float, as in pandas.
        return {
            name: "double" if len(kinds) == 3 else [*kinds, "string"][0]
            for name, kinds in possible.items()
        }

    @property
    def unnamed(self) -> tuple[str, ...]:
        """The columns without a name."""
        return tuple(name for name in self._names if name.startswith("Unnamed: "))

    def first(self, name: str) -> list[str | None]:
        """Returns the first values of a column."""
        for batch in self._batches():
            return list(batch.column(name).slice(0, _SAMPLE).to_pylist())
        return []

    def typed(
        self,
        columns: Columns,
        kinds: dict[str, str],
        bad: BadSampleTally,
        progress: Callable[[int, int], None],
    ) -> tuple[Any, Iterator[Any]]:
        """Returns the schema of the columns that are needed, and their record batches.

        Args:
            columns: what each is for.
            kinds: their types.
            bad: counts the rows that are passed over.
            progress: called with the number of rows done, and 0.
        """
        raw = columns.inputs if reader_of(columns.modality).verbatim else ()
        names = _storage(columns, kinds)
        spelled = {*columns.inputs, *columns.groups}
        schema = pa.schema([pa.field(name, kind) for name, kind in names.items()])

        def batches() -> Iterator[Any]:
            done = 0
            for batch in self._batches(bad):
                arrays = []
                for name, kind in names.items():
                    column = batch.column(name)
                    if name in raw:
                        arrays.append(column.cast(kind))
                        continue
                    # What spells missing is missing; in other texts only an empty cell is.
                    takes = name in spelled or kind != pa.string()
                    missing = self.missing if takes else ("",)
                    gone = pc.is_in(column, value_set=pa.array(missing, pa.string()))
                    arrays.append(_cast(pc.if_else(gone, _NOTHING, column), kind))
                yield pa.record_batch(arrays, schema=schema)
                done += batch.num_rows
                progress(done, 0)

        return schema, batches()

    @cached_property
    def _names(self) -> list[str]:
        first = self._header(self.files[0])
        for path in self.files[1:]:
            if (names := self._header(path)) != first:
                odd = sorted(set(names) ^ set(first)) or names
                raise InputError(
                    f"{path.name} and {self.files[0].name} have different columns: {', '.join(odd)}"
                )
        return first

    def _header(self, path: Path) -> list[str]:
        # Before columns are made of it. What a quoted comma adds is few.
        line = beginning(path, path.name).partition(b"\n")[0]
        require_columns(line.count(self.delimiter.encode()) + 1, path.name)
        with self._open(path, {}, BadSampleTally()) as reader:
            try:
                names = list(reader.schema.names)
            except UnicodeDecodeError:
                raise self._undecodable(path) from None
        if any("\0" in name for name in names):
            raise InputError(f"{path.name}: its header holds a NUL byte: it is no CSV file")
        if names.count("") == 1:
            names[names.index("")] = f"Unnamed: {names.index('')}"
        require_unique(names)
        return names

    def _batches(self, bad: BadSampleTally | None = None) -> Iterator[Any]:
        """Yields record batches of strings; `bad` counts the rows that are passed over."""
        tally = BadSampleTally() if bad is None else bad
        names = self._names
        for path in self.files:
            with self._open(path, dict.fromkeys([*names, ""], pa.string()), tally) as reader:
                while True:
                    try:
                        batch = reader.read_next_batch()
                    except StopIteration:
                        break
                    except (pa.ArrowException, UnicodeError) as error:
                        raise self._unreadable(path, error) from None
                    yield self._decodable(batch.rename_columns(names), path, tally)

    def _decodable(self, batch: Any, path: Path, bad: BadSampleTally) -> Any:
        """Returns the rows whose bytes are texts: the reader has not looked."""
        good = np.ones(batch.num_rows, dtype=np.bool_)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            stored = pc.cast(column, pa.binary())
            if pc.any(pc.match_substring(stored, "\0")).as_py():
                raise InputError(
                    f"{path.name}: column {name!r} holds a NUL byte, which no text has: the file "
                    "is damaged, or no CSV file"
                )
            try:
                pc.cast(stored, pa.string())
            except pa.ArrowException:
                for row, value in enumerate(stored.to_pylist()):
                    if good[row] and not _is_utf8(value):
                        good[row] = False
                        bad.add(
                            "undecodable row",
                            f"{path.name}: column {name!r} holds {_shown(value)}, which is not "
                            f"{self.encoding} (say encoding=, e.g. encoding=latin-1)",
                        )
        return batch if good.all() else batch.filter(pa.array(good))

    def _open(self, path: Path, types: dict[str, Any], bad: BadSampleTally) -> Any:
        import pyarrow.csv as library

        def ragged(row: Any) -> str:
            lines = row.text.count("\n") + 1
            over = f" over {lines:,} lines (is a quote left open?)" if lines > 1 else ""
            bad.add(
                "row of another length",
                f"{path.name}: a row has {row.actual_columns} values, expected "
                f"{row.expected_columns}{over}: {_shown(row.text)}",
            )
            return "skip"

        _pass_over_undecodable_rows()
        try:
            return library.open_csv(
                str(path),
                read_options=library.ReadOptions(block_size=BLOCK, encoding=self.encoding),
                parse_options=library.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True, invalid_row_handler=ragged
                ),
                # What is not UTF-8 is found row by row, so that the others are left.
                convert_options=library.ConvertOptions(column_types=types, check_utf8=False),
            )
        except (pa.ArrowException, UnicodeError) as error:
            raise self._unreadable(path, error) from None

    def _undecodable(self, path: Path) -> InputError:
        return InputError(
            f"{path.name} is not {self.encoding}; say encoding=, e.g. encoding=latin-1"
        )

    def _unreadable(self, path: Path, error: Exception) -> InputError:
        text = str(error).splitlines()[0]
        if "Empty CSV" in text:
            return InputError(f"{path.name} is empty")
        if isinstance(error, UnicodeError) or "UTF8" in text or "UTF-8" in text:
            return self._undecodable(path)
        if "straddling" in text:
            return InputError(f"{path.name} has a row longer than {BLOCK >> 20} MiB")
        return InputError(f"{path.name} can't be read as CSV: {text}")


@cache
def _pass_over_undecodable_rows() -> None:
    """Keeps off stderr what Arrow can't hand over: a row of another length that is no text.

    It is refused all the same, with the reader's own sentence.
    """
    hook = sys.unraisablehook

    def quiet(found: Any) -> None:
        row = getattr(found.object, "__qualname__", "") == "CsvFiles._open.<locals>.ragged"
        if not (row and isinstance(found.exc_value, UnicodeDecodeError)):
            hook(found)

    sys.unraisablehook = quiet


def _storage(columns: Columns, kinds: dict[str, str]) -> dict[str, Any]:
    """Returns the type that each column which is needed is stored in."""
    named = {columns.cluster, columns.id} - {*columns.inputs, *columns.targets, *columns.groups}
    texts = frozenset(columns.inputs if reader_of(columns.modality).verbatim else ())
    return {
        name: pa.large_string()
        if name in texts
        else pa.string()
        if name in named
        else pa.type_for_alias(kinds[name])
        for name in columns.used
    }


def _fits(values: Any, kind: str) -> bool:
    if kind == "bool":
        return bool(pc.all(pc.is_in(values, value_set=pa.array([*_TRUE, *_FALSE]))).as_py())
    if kind == "int64" and not pc.all(pc.match_substring_regex(values, _WHOLE)).as_py():
        return False
    try:
        _cast(values, pa.type_for_alias(kind))
    except pa.ArrowException:
        return False
    return True


def _cast(values: Any, kind: Any) -> Any:
    if pa.types.is_string(kind):
        return values
    if pa.types.is_boolean(kind):
        known = pc.is_in(values, value_set=pa.array(_TRUE))
        return pc.if_else(pc.is_null(values), pa.scalar(None, pa.bool_()), known)
    plain = pc.utf8_ltrim(pc.utf8_trim_whitespace(values), "+")
    return pc.cast(plain, kind)


def _is_utf8(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(value: str | bytes) -> str:
    return repr(value) if len(value) <= _SHOWN else f"{value[:_SHOWN]!r}..."


# `parquet:GLOB`: Parquet files, read in a stream.

_BATCH = 16_384


class ParquetSource(DataSource):
    """Reads Parquet files with the same columns, in the order of their names.

    The address is a file, a folder (all ``.parquet`` below it) or a pattern of ``*``, ``**`` (any
    number of folders) and ``[...]``; a question mark begins the options. An ``https://`` or
    ``s3://`` address names a file or a pattern behind a network. Types are the files' own;
    those of several files are widened to a common one. Classes and image columns that `datasets`
    noted in them, and categories and nullable dtypes that pandas did, are kept.
    """

    options: ClassVar[tuple[str, ...]] = TABULAR

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        DataOptions.parse(uri, *TABULAR)
        return named_sources(uri.rest, base, "*.parquet")

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        options = DataOptions.parse(opening.uri, *TABULAR, main=opening.main)
        files = named_files(opening, "*.parquet")

        def fill(conversion: Conversion) -> None:
            table = _Parquet(files)
            schema = table.schema()
            columns = choose_columns(column_kinds(schema), options, table.first)
            conversion.facts.update(columns.as_dict())
            kept = storable(table.hinted(schema, columns.used))
            conversion.write("test", kept, table.batches(kept, opening))

        settings = {"source": "parquet", "columns": options.choice()}
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        return Columns.from_dict(done.facts).raw(done.roles, options, key=done.key)


@dataclass(frozen=True)
class _Parquet:
    """Parquet files of the same columns."""

    files: Sequence[Path]

    def schema(self) -> Any:
        """Returns the files' common schema."""
        first = self._open(self.files[0]).schema_arrow
        require_unique(first.names)
        schemas = [first]
        for path in self.files[1:]:
            schema = self._open(path).schema_arrow
            if sorted(schema.names) != sorted(first.names):
                odd = sorted(set(schema.names) ^ set(first.names))
                raise InputError(
                    f"{path.name} and {self.files[0].name} have different columns: {', '.join(odd)}"
                )
            schemas.append(schema)
        try:
            common = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise InputError(f"the files' types don't agree: {error}") from None
        return common.with_metadata(first.metadata)

    def first(self, name: str) -> list[str | None]:
        """Returns the first values of a column."""
        for batch in self._open(self.files[0]).iter_batches(_SAMPLE, columns=[name]):
            return list(batch.column(name).to_pylist())
        return []

    def hinted(self, schema: Any, names: Sequence[str]) -> Any:
        """Returns the schema of some columns, with what pandas needs to know of them."""
        noted = parse_json((schema.metadata or {}).get(b"pandas", b"{}"), "what pandas noted")
        try:
            columns = noted.get("columns", [])
            dtypes = {str(column["name"]): str(column["numpy_type"]) for column in columns}
        except (AttributeError, LookupError, TypeError):
            dtypes = {}  # not as pandas writes it
        fields = []
        for name in names:
            kind = schema.field(name).type
            hint = None
            if pa.types.is_dictionary(kind):
                hint = category_hint(self._categories(name), ordered=kind.ordered)
            elif NULLABLE.fullmatch(dtypes.get(name, "")):
                hint = {"dtype": dtypes[name]}
            fields.append(frame_field(name, kind, hint))
        noted_types = (schema.metadata or {}).get(b"huggingface")
        return pa.schema(fields, {b"huggingface": noted_types} if noted_types else None)

    def batches(self, schema: Any, opening: DataOpening) -> Iterator[Any]:
        """Yields record batches of that schema."""
        total = sum(self._open(path).metadata.num_rows for path in self.files)
        done = 0
        for path in self.files:
            try:
                for batch in self._open(path).iter_batches(_BATCH, columns=schema.names):
                    table = pa.table(batch).select(schema.names).cast(schema)
                    yield from table.combine_chunks().to_batches()
                    done += batch.num_rows
                    opening.progress(done, total)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path.name} can't be read: {error}") from None

    def _categories(self, name: str) -> list[Any]:
        found: dict[Any, None] = {}
        for path in self.files:
            for batch in self._open(path).iter_batches(1 << 16, columns=[name]):
                found |= dict.fromkeys(batch.column(name).dictionary.to_pylist())
        return list(found)

    def _open(self, path: Path) -> Any:
        import pyarrow.parquet as library

        try:
            return library.ParquetFile(str(path))
        except (pa.ArrowException, OSError) as error:
            text = str(error).splitlines()[0]
            raise InputError(f"{path.name} can't be read as Parquet: {text}") from None
