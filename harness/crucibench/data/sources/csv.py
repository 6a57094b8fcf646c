"""`csv:FILE`: comma-separated values, read in a stream."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI, existing_file
from crucibench.data.columnar import Conversion, convert
from crucibench.data.options import (
    TABULAR,
    Columns,
    DataOptions,
    Kind,
    choose_columns,
    require_unique,
)
from crucibench.util.errors import InputError

OPTIONS = (*TABULAR, "delimiter", "encoding", "missing")

MISSING = (
    "",
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""What pandas reads as missing."""

_BLOCK = 16 << 20
_SAMPLE = 10_000
_WHOLE = r"^\s*[+-]?[0-9]+\s*$"
_NOTHING = pa.scalar(None, pa.string())
_TRUE = ("True", "TRUE", "true")
_FALSE = ("False", "FALSE", "false")


class CsvSource(DataSource):
    """Reads a CSV file, perhaps compressed (``.gz``, ...), as pandas would, whatever its size.

    A column's type is the first of boolean, integer, float and string that all of its values have.
    What `MISSING` lists is missing, but in texts and in strings of the target; there, and in id and
    cluster, a value is what stands in the file. A first column without a name, as data frames write
    their index, is a feature only where the user names it (``Unnamed: 0``).

    Options beside those of `DataOptions`: ``delimiter`` (a comma, or a tab for ``.tsv``),
    ``encoding`` (UTF-8), and ``missing``, a list in place of `MISSING`.
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
        missing = ("", *uri.names("missing")) if "missing" in uri.query else MISSING
        table = _Csv(path, *_dialect(uri, path), missing)

        def fill(conversion: Conversion) -> None:
            kinds = table.kinds()
            held: dict[str, Kind] = {
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
            schema, batches = table.typed(columns, kinds, opening)
            conversion.write("test", schema, batches)

        settings = {
            "source": "csv",
            "columns": options.choice(),
            "dialect": [table.delimiter, table.encoding, list(missing)],
        }
        done = convert(opening.scratch, fill, settings=settings, files=(path,), base=opening.base)
        columns = Columns.from_dict(done.facts["columns"])
        return columns.raw(done.roles, options, key=done.key, notes=tuple(done.facts["notes"]))


@dataclass(frozen=True)
class _Csv:
    """A CSV file as a stream of columns of strings."""

    path: Path
    delimiter: str
    encoding: str
    missing: tuple[str, ...]

    def kinds(self) -> dict[str, str]:
        """Returns each column's type: bool, int64, double or string."""
        possible = {name: ["bool", "int64", "double"] for name in self._names()}
        for batch in self._batches():
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                values = column.filter(pc.invert(self._is_missing(column)))
                possible[name] = [kind for kind in possible[name] if _fits(values, kind)]
        # A column without any value has fitted all: it is a float, as in pandas.
        return {
            name: "double" if len(kinds) == 3 else [*kinds, "string"][0]
            for name, kinds in possible.items()
        }

    @property
    def unnamed(self) -> tuple[str, ...]:
        """The columns without a name."""
        return tuple(name for name in self._names() if name.startswith("Unnamed: "))

    def first(self, name: str) -> list[str | None]:
        """Returns the first values of a column."""
        for batch in self._batches():
            return list(batch.column(name).slice(0, _SAMPLE).to_pylist())
        return []

    def typed(
        self, columns: Columns, kinds: dict[str, str], opening: DataOpening
    ) -> tuple[Any, Iterator[Any]]:
        """Returns the schema of the columns that are needed, and their record batches."""
        raw = columns.inputs if columns.modality is Modality.TEXT else ()
        names = {name: _storage(name, columns, kinds) for name in columns.used}
        schema = pa.schema([pa.field(name, kind) for name, kind in names.items()])

        def batches() -> Iterator[Any]:
            done = 0
            for batch in self._batches():
                arrays = []
                for name, kind in names.items():
                    column = batch.column(name)
                    if name in raw:
                        arrays.append(column.cast(kind))
                        continue
                    spelled = self.missing if _takes_spellings(name, columns, kind) else ("",)
                    gone = pc.is_in(column, value_set=pa.array(spelled, pa.string()))
                    arrays.append(_cast(pc.if_else(gone, _NOTHING, column), kind))
                yield pa.record_batch(arrays, schema=schema)
                done += batch.num_rows
                opening.progress(done, 0)

        return schema, batches()

    def _is_missing(self, column: Any) -> Any:
        return pc.is_in(column, value_set=pa.array(self.missing, pa.string()))

    def _names(self) -> list[str]:
        with self._open({}) as reader:
            names = list(reader.schema.names)
        if names.count("") == 1:
            names[names.index("")] = f"Unnamed: {names.index('')}"
        require_unique(names)
        return names

    def _batches(self) -> Iterator[Any]:
        """Yields record batches of strings."""
        names = self._names()
        with self._open(dict.fromkeys([*names, ""], pa.string())) as reader:
            while True:
                try:
                    batch = reader.read_next_batch()
                except StopIteration:
                    return
                except pa.ArrowException as error:
                    raise self._unreadable(error) from None
                yield batch.rename_columns(names)

    def _open(self, types: dict[str, Any]) -> Any:
        import pyarrow.csv as library

        try:
            return library.open_csv(
                str(self.path),
                read_options=library.ReadOptions(block_size=_BLOCK, encoding=self.encoding),
                parse_options=library.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=True
                ),
                convert_options=library.ConvertOptions(column_types=types),
            )
        except pa.ArrowException as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> InputError:
        text = str(error).splitlines()[0]
        if "Empty CSV" in text:
            return InputError(f"{self.path.name} is empty")
        if "UTF8" in text or "UTF-8" in text:
            return InputError(
                f"{self.path.name} is not {self.encoding}; say encoding=, e.g. encoding=latin-1"
            )
        if "straddling" in text:
            return InputError(f"{self.path.name} has a row longer than {_BLOCK >> 20} MiB")
        return InputError(f"{self.path.name} can't be read as CSV: {text}")


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


def _storage(name: str, columns: Columns, kinds: dict[str, str]) -> Any:
    if name in columns.inputs and columns.modality is Modality.TEXT:
        return pa.large_string()
    named = name in {columns.cluster, columns.id}
    if named and name not in {*columns.inputs, columns.target, *columns.groups}:
        return pa.string()
    return pa.type_for_alias(kinds[name])


def _takes_spellings(name: str, columns: Columns, kind: Any) -> bool:
    """Whether what spells missing is missing; else only an empty cell is."""
    return name in {*columns.inputs, *columns.groups} or kind != pa.string()


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
