"""`csv:GLOB`: comma-separated values, read in a stream."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import ClassVar

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.bad_samples import Tally, from_plain, plain
from crucibench.data.columnar import Conversion, convert
from crucibench.data.csv_files import CsvFiles
from crucibench.data.files import named_files, named_sources
from crucibench.data.like import like_kinds
from crucibench.data.options import TABULAR, Columns, DataOptions, Kind, choose_columns
from crucibench.util.errors import InputError

OPTIONS = (*TABULAR, "delimiter", "encoding", "missing")

MISSING = (
    "",
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""What pandas reads as missing."""


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

    options: ClassVar[tuple[str, ...]] = OPTIONS

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        DataOptions.parse(uri, *OPTIONS)
        return named_sources(uri.rest, base)

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        options = DataOptions.parse(uri, *OPTIONS, like=opening.like)
        files = named_files(opening)
        missing = ("", *uri.names("missing")) if "missing" in uri.query else MISSING
        table = CsvFiles(tuple(files), *_dialect(uri, files[0]), missing)

        def fill(conversion: Conversion) -> None:
            kinds = like_kinds(table.kinds(), opening.like)
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
            bad = Tally()
            schema, batches = table.typed(columns, kinds, bad, opening.progress)
            conversion.write("test", schema, batches, bad)
            conversion.facts["left_out"] = plain(bad.left_out())

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
            left_out={"test": from_plain(done.facts["left_out"])},
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
