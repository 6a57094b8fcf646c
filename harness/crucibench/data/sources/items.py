"""`items:GLOB`: items for language models, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.task import Modality
from crucibench.contracts.uri import URI
from crucibench.data.columnar import Conversion, convert
from crucibench.data.files import named_files, named_sources
from crucibench.data.hub import import_datasets
from crucibench.util.errors import InputError
from crucibench.util.hashing import canonical_json
from crucibench.util.suggest import unknown
from crucibench.util.untrusted.content import read_content, text_of
from crucibench.util.untrusted.json_text import parse_json

_MOST = 1 << 30
_PIECE = 10_000
CLUSTERS = ("cluster", "template", "question_index", "passage", "context", "story")
"""Fields whose values items share, where the address names none."""


class ItemsSource(DataSource):
    """Reads items; the task is ``generation``.

    Options: ``target=FIELD``, the reference answer, a list of them, or the right choice;
    ``groups=A,B`` and ``cluster=FIELD``, such as the passage or template that several items share:
    by default the first of `CLUSTERS` that the first item has, ``cluster=none`` for none;
    ``id=FIELD``; ``licence`` and ``citation``. An item is all fields but target and id, and its
    id their digest: made before any template.
    """

    options: ClassVar[tuple[str, ...]] = (
        "target", "groups", "cluster", "id", "licence", "citation",
    )  # fmt: skip

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the files."""
        uri.only(*cls.options)
        if not uri.query.get("target"):
            raise InputError("option target is missing: which field holds the reference answer?")
        return named_sources(uri.rest, base, "*.jsonl")

    def read(self, opening: DataOpening) -> RawData:
        """Reads the files."""
        uri = opening.uri
        self.sources(uri, opening.base)
        files = named_files(opening, "*.jsonl")
        query = uri.query
        groups = uri.names("groups")
        apart = [query[name] for name in ("target", "id") if query.get(name)]
        shared = "" if query.get("cluster") else _shared(files)
        asked = query.get("cluster", "")
        cluster = asked if asked not in {"", "none"} else shared if shared not in apart else ""
        named = list(dict.fromkeys((*groups, *[cluster] * bool(cluster), *apart[1:])))
        library = import_datasets()
        text = library.Value("string")
        target = library.Sequence(text)
        names = {**dict.fromkeys(named, text), "item": text, "references": target}
        if clash := {"item", "references"} & set(named):
            raise InputError(f"field {min(clash)!r}: expected another name for a group or cluster")
        schema = library.Features(names).arrow_schema

        def fill(conversion: Conversion) -> None:
            conversion.write("test", schema, _batches(files, apart, named, schema, shared))

        settings = {"source": "items", "apart": apart, "named": named}
        done = convert(opening.scratch, fill, settings=settings, files=files, base=opening.base)
        return RawData(
            roles=done.roles, modality=Modality("item"), inputs=("item",), target="references",
            kind="generation", groups=groups, cluster=cluster,
            id=query.get("id", ""), licence=query.get("licence", ""),
            citation=query.get("citation", ""), key=done.key,
        )  # fmt: skip


def _shared(files: Sequence[Path]) -> str:
    """Returns the field that clusters items, "" for none."""
    line = read_content(files[0], files[0].name, _MOST).partition(b"\n")[0]
    try:
        first = parse_json(line, files[0].name)
    except InputError:
        return ""  # whoever reads the line says what is wrong with it
    fields = first if isinstance(first, dict) else {}
    texts = (name for name in CLUSTERS if isinstance(fields.get(name), str | int | float))
    return next(texts, "")


def _batches(
    files: Sequence[Path], apart: list[str], named: list[str], schema: Any, shared: str
) -> Iterator[Any]:
    for path in files:
        lines = text_of(read_content(path, path.name, _MOST), path.name).split("\n")
        rows = [
            _row(line, f"{path.name} line {number}", apart, named, shared)
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
        for at in range(0, len(rows), _PIECE):
            yield pa.RecordBatch.from_pylist(rows[at : at + _PIECE], schema=schema)


def _row(
    line: str, where: str, apart: list[str], named: list[str], shared: str
) -> dict[str, Any]:  # fmt: skip
    item = parse_json(line, where)
    if not isinstance(item, dict):
        raise InputError(f"{where}: expected a JSON object, got {type(item).__name__}")
    # An item without the field that clusters by default is a cluster of its own.
    beside = {shared: where, **item}
    for name in (*apart, *named):
        if name not in beside:
            raise InputError(f"{where}: {unknown('field', name, item)}")
    target = item[apart[0]]
    references = target if isinstance(target, list) else [target]
    if not references or any(isinstance(one, dict | list | None) for one in references):
        raise InputError(f"{where}: {apart[0]!r}: expected a text, a number or a list of texts")
    row: dict[str, Any] = {name: _text(beside[name], f"{where}: {name!r}") for name in named}
    kept = {name: value for name, value in item.items() if name not in apart}
    return {**row, "item": canonical_json(kept), "references": [str(one) for one in references]}


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str | int | float):
        raise InputError(f"{where}: expected a text or a number, got {type(value).__name__}")
    return str(value)
