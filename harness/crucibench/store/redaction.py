"""Leaves out of a run's files what is not published.

Inputs, free text, sample names and group columns are recognised by what they are, not by a list of
suites: columns called ``input:NAME`` and ``group:NAME``, and columns of text that are no few short
labels. Whatever else a suite stores as numbers stays.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crucibench.contracts.lists import is_list, item_type
from crucibench.contracts.records import KEYS
from crucibench.contracts.verdict import Status
from crucibench.store.cells import CellFile

_INPUT, _GROUP = "input:", "group:"
_LABEL = re.compile(r"[\w.=+:/@-]{0,40}")
_MOST_LABELS = 64
_STRUCTURE = frozenset(KEYS)


@dataclass(frozen=True)
class Disclosure:
    """What is published although it says something of samples.

    Attributes:
        inputs: inputs, free text, and the users' own names of samples and clusters.
        groups: group columns.
    """

    inputs: bool = False
    groups: bool = False


class Redacted(NamedTuple):
    """A file without what is not published.

    Attributes:
        content: its bytes.
        withheld: what is missing; empty if nothing, then the bytes are those of the run.
    """

    content: bytes
    withheld: tuple[str, ...]


def redacted_table(content: bytes, kept: Disclosure, names: Collection[str]) -> Redacted:
    """Leaves out of records or probes what holds inputs or free text.

    Args:
        content: a Parquet file.
        kept: what stays.
        names: of classes, which are no free text.
    """
    table = pq.read_table(io.BytesIO(content))
    drop = [name for name in table.column_names if not _stays(name, table[name], kept, names)]
    if not drop:
        return Redacted(content, ())
    return Redacted(parquet(table.drop_columns(drop)), tuple(drop))


def is_published(
    content: bytes, kept: Disclosure, names: Collection[str], words: Collection[str]
) -> bool:
    """Says whether a table that scoring made is published: whole or not at all.

    Args:
        content: a Parquet file.
        kept: what is published although it says something of samples.
        names: of classes.
        words: what is published elsewhere anyway (`published_words`). Where each row is of one
            sample they are no excuse: that it is of this group is published nowhere else.
    """
    table = pq.read_table(io.BytesIO(content))
    known = {*names, *words} if "id" not in table.column_names else names
    return all(_stays(name, table[name], kept, known) for name in table.column_names)


def published_words(metrics: pa.Table, suites: Any) -> set[str]:
    """Returns the words of the metric rows and of the suites' declarations.

    Args:
        metrics: the metric rows, with the names of groups, metrics, points and methods.
        suites: what ``suites.json`` holds.
    """
    words = set(_words(suites))
    for name in metrics.column_names:
        if pa.types.is_string(metrics[name].type):
            words |= {word for word in metrics[name].unique().to_pylist() if word is not None}
    return words


def redacted_samples(content: bytes, kept: Disclosure) -> Redacted:
    """Leaves group columns and names out of a sample table; clusters become numbers."""
    table = pq.read_table(io.BytesIO(content))
    withheld: list[str] = []
    if not kept.groups:
        withheld += [name for name in table.column_names if name.startswith(_GROUP)]
    if not kept.inputs and "key" in table.column_names:
        withheld.append("key")
    table = table.drop_columns(withheld)
    kind = table.schema.field("target").type
    if not kept.inputs and is_list(kind) and pa.types.is_string(item_type(kind)):
        # References are free text.
        place = table.column_names.index("target")
        table = table.set_column(place, "target", pa.array([[]] * table.num_rows, kind))
        withheld.append("target (texts)")
    if not kept.inputs and "cluster" in table.column_names:
        codes = cluster_codes(np.asarray(table["cluster"].to_pylist(), object))
        coded = pa.array(codes, pa.string())
        table = table.set_column(table.column_names.index("cluster"), "cluster", coded)
        withheld.append("cluster (names)")
    return Redacted(parquet(table) if withheld else content, tuple(withheld))


def redacted_cell(content: bytes, file: CellFile, kept: Disclosure) -> Redacted:
    """Leaves out of a cell file what may quote a sample: tracebacks, words in evidence."""
    if kept.inputs:
        return Redacted(content, ())
    document = file.model_dump(mode="json")
    withheld = []
    if document["detail"]:
        document["detail"] = ""
        withheld.append("detail")
    if file.status is Status.FAILED:
        document["reason"] = "the run that this is of says why"
        withheld.append("reason")
    for finding in document["findings"]:
        evidence = _numbers(finding["evidence"])
        if evidence != finding["evidence"]:
            finding["evidence"] = evidence
            withheld.append(f"words in the evidence of {finding['code']}")
    if not withheld:
        return Redacted(content, ())
    return Redacted(json_text(document).encode(), tuple(dict.fromkeys(withheld)))


def parquet(table: pa.Table) -> bytes:
    """Returns a table as Parquet: equal tables give equal bytes."""
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), stream, compression="zstd")
    return stream.getvalue()


def json_text(document: Any) -> str:
    """Returns plain data as JSON: equal data give equal text."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def cluster_codes(clusters: NDArray[np.object_]) -> NDArray[np.object_]:
    """Returns a number in place of each cluster's name, as text.

    Numbers are in the order of the names, so that draws stay what they were.
    """
    codes, names = pd.factorize(clusters, sort=True)
    digits = len(str(len(names)))
    return np.array([f"{code:0{digits}d}" for code in codes], dtype=object)


def _stays(name: str, column: Any, kept: Disclosure, names: Collection[str]) -> bool:
    if name.startswith(_GROUP):
        return kept.groups
    if name in _STRUCTURE or kept.inputs:
        return True
    return not name.startswith(_INPUT) and not _may_be_text(column, names)


def _may_be_text(column: Any, names: Collection[str]) -> bool:
    """Whether a column holds more than numbers, vectors of numbers, or a few short labels."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _may_be_text(column.cast(kind.value_type), names)
    if pa.types.is_nested(kind):
        if is_list(kind) and pa.types.is_string(kind.value_type):
            # A list of short words may be a sentence: only the names of classes are known as none.
            found = pc.unique(pc.list_flatten(column)).to_pylist()
            return not set(found) <= {*names, None}
        return not pa.types.is_primitive(item_type(kind))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values = [value for value in column.unique().to_pylist() if value is not None]
        free = [value for value in values if value not in names]
        return len(free) > _MOST_LABELS or not all(map(_LABEL.fullmatch, free))
    return not (pa.types.is_primitive(kind) or pa.types.is_null(kind))


def _words(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif isinstance(document, Mapping):
        for key, value in document.items():
            yield str(key)
            yield from _words(value)
    elif isinstance(document, list):
        for value in document:
            yield from _words(value)


def _numbers(evidence: Any) -> Any:
    """Returns evidence without its words: numbers, and texts that are labels."""
    if isinstance(evidence, Mapping):
        return {key: _numbers(value) for key, value in evidence.items()}
    if isinstance(evidence, list):
        return [_numbers(value) for value in evidence]
    return evidence if not isinstance(evidence, str) or _LABEL.fullmatch(evidence) else ""
