"""`parquet:GLOB`: Parquet files, read in a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.columnar import Conversion, column_kinds, convert, storable
from crucibench.data.columns import Columns, choose_columns
from crucibench.data.files import named_files, named_sources
from crucibench.data.frames import NULLABLE, category_hint, frame_field
from crucibench.data.options import TABULAR, DataOptions, require_unique
from crucibench.util.errors import InputError
from crucibench.util.untrusted.json_text import parse_json

_BATCH = 16_384
_SAMPLE = 10_000


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
