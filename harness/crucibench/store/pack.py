"""Packs: one small, checked file of a run, for a team to commit and compare with.

A ZIP archive, ``*.cbz``, of a run directory without what pairing does not need: no inputs, no free
text, no names of samples, no tracebacks, no audits' probes; group columns only where asked for; ids
and digests of data sealed (`crucibench.store.seal`). Equal runs give equal bytes. Its manifest has
the digest of every file, and the archive's comment that of all its bytes before.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crucibench.contracts.verdict import Status
from crucibench.store.archive import (
    Unpacked,
    check_digests,
    checked_id,
    named,
    read_archive,
    write_archive,
)
from crucibench.store.cells import CellFile
from crucibench.store.layout import FORMAT_VERSION
from crucibench.store.pack_run import PackRun
from crucibench.store.run import Run
from crucibench.store.seal import Seal
from crucibench.store.tables import read_table, samples_to_table
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import data_digest

PACK_FORMAT: Literal[1] = 1
SUFFIX = ".cbz"

_DIGESTS = re.compile(r"\b[0-9a-f]{32}(?:[0-9a-f]{32})?\b")
_LABEL = re.compile(r"[\w.=+:/-]{0,40}")
_MOST_LABELS = 64
KIND = "pack"


@dataclass(frozen=True)
class Kept:
    """What comparing reads of a run.

    Attributes:
        vectors: cell id to the names of the vector columns that are read; cells that are not among
            the keys keep no records.
        limits: (data, role, limit) to the rows of the sample table that the limit keeps.
    """

    vectors: Mapping[str, frozenset[str]]
    limits: Mapping[tuple[str, str, int], Any]


def write_pack(run: Run, path: Path, kept: Kept, version: str, *, with_groups: bool) -> None:
    """Writes the pack of a finished run.

    Args:
        run: the run.
        path: where to.
        kept: what comparing reads.
        version: of this package.
        with_groups: whether group columns are kept.

    Raises:
        InputError: if the run's folder has a name that can't be an id.
    """
    files = _Packer(run, kept, with_groups=with_groups).files()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    results = {name: digest for name, digest in digests.items() if name != "metrics.parquet"}
    manifest = {
        "format_version": FORMAT_VERSION,
        "crucibench_version": version,
        "digest": data_digest(results),
        "files": results,
        "pack": {
            "format_version": PACK_FORMAT,
            "run": named(run.id),
            "with_groups": with_groups,
            "views": {"metrics.parquet": digests["metrics.parquet"]},
        },
    }
    files["manifest.json"] = _json(manifest).encode()
    write_archive(path, KIND, files)


def open_pack(path: Path) -> PackRun:
    """Opens a pack: it is unpacked into a folder that goes when the run is no longer used.

    Raises:
        UnreadableError: if it is no pack, damaged, or of another format.
    """
    files, run = _checked(path)
    return PackRun(Unpacked(files), run)


def opened_together(first: Run, second: Run) -> tuple[Run, Run]:
    """Returns two runs that are to be compared; with a run on its data, a pack shows its ids."""
    if isinstance(first, PackRun) and not isinstance(second, PackRun):
        return first.opened(second), second
    if isinstance(second, PackRun) and not isinstance(first, PackRun):
        return first, second.opened(first)
    return first, second


class _Packer:
    """Makes the files of a pack."""

    def __init__(self, run: Run, kept: Kept, *, with_groups: bool) -> None:
        self.run = run
        self.kept = kept
        self.with_groups = with_groups
        self.seals = {name: Seal(card.fingerprint) for name, card in run.cards.items()}
        self.stands_for: dict[str, str] = {}
        for name, card in run.cards.items():
            seal = self.seals[name]
            self.stands_for[card.fingerprint] = seal.data
            for digest in (*card.ids_digest.values(), *card.further.values()):
                self.stands_for[digest] = seal.digest(digest)
        for file in run.cells.values():
            if file.ids_digest and file.data in self.seals:
                self.stands_for[file.ids_digest] = self.seals[file.data].digest(file.ids_digest)
        self.known = {
            (name, role): pd.Index(run.samples(name, role).ids)
            for name, card in run.cards.items()
            for role in card.counts
            if run.layout.sample_table(name, role).is_file()
        }

    def files(self) -> dict[str, bytes]:
        """Returns the content of every file by name."""
        layout = self.run.layout
        files = {
            "spec.yaml": self._spec(),
            "metrics.parquet": _parquet(read_table(layout.metrics)),
        }
        for path in sorted(layout.environment.glob("*.json")):
            files[self._name(path)] = self._sealed(json.loads(path.read_text("utf-8")))
        for name, card in self.run.cards.items():
            files[self._name(layout.card(name))] = self._sealed(card.as_dict())
        packed = {
            (self.run.cells[cell].data, self.run.cells[cell].role) for cell in self.kept.vectors
        }
        for name, role in sorted(packed):
            files[self._name(layout.sample_table(name, role))] = self._samples(name, role)
        for cell, file in self.run.cells.items():
            files[self._name(layout.cell_file(cell))] = self._sealed(_without_text(file))
            if cell in self.kept.vectors and file.data in self.seals:
                table = self._records(file, self.kept.vectors[cell])
                if table is not None:
                    files[self._name(layout.shard(cell, 0, 0))] = _parquet(table)
        return files

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run.root).as_posix()

    def _spec(self) -> bytes:
        from crucibench.spec.yaml_file import dump_yaml

        spec = dict(self.run.spec)
        resolved = dict(spec["resolved"])
        # Digests of single files, and their names, say what the data is made of.
        resolved["digests"] = {
            key: {"sealed": self.seals[name].digest(data_digest(value))}
            if key.startswith("data.")
            and (name := key.removeprefix("data.").partition(":")[0]) in self.seals
            else value
            for key, value in resolved["digests"].items()
        }
        return self._in_text(dump_yaml({**spec, "resolved": resolved})).encode()

    def _sealed(self, document: Any) -> bytes:
        return self._in_text(_json(document)).encode()

    def _in_text(self, text: str) -> str:
        return _DIGESTS.sub(lambda match: self._one(match[0]), text)

    def _one(self, text: str) -> str:
        if text in self.stands_for:
            return self.stands_for[text]
        for (name, _), ids in self.known.items():
            if text in ids:
                return self.seals[name].identity(text)
        return text

    def _samples(self, name: str, role: str) -> bytes:
        samples = self.run.samples(name, role)
        clusters = samples.clusters
        if clusters is not None:
            # Codes in the order of the names, so that draws stay what they were.
            codes, names = pd.factorize(clusters, sort=True)
            digits = len(str(len(names)))
            clusters = np.array([f"{code:0{digits}d}" for code in codes], dtype=object)
        groups = samples.groups if self.with_groups else samples.groups[[]]
        table = samples_to_table(
            type(samples)(
                self.seals[name].identities(samples.ids), samples.targets, groups, clusters
            )
        )
        for (data, of_role, limit), rows in sorted(
            self.kept.limits.items(), key=lambda entry: entry[0]
        ):
            if (data, of_role) == (name, role):
                chosen = np.zeros(len(samples), dtype=np.bool_)
                chosen[rows] = True
                table = table.append_column(f"limit:{limit}", pa.array(chosen))
        return _parquet(table)

    def _records(self, file: CellFile, vectors: frozenset[str]) -> pa.Table | None:
        table = self.run.cell_records(file.cell).table
        if not table.num_rows:
            return None
        columns = {"id": pa.array(self.seals[file.data].identities(table["id"].to_pylist()))}
        for name in table.column_names:
            column = table[name].combine_chunks()
            if name == "id" or not _is_kept(name, column, vectors):
                continue
            columns[name] = column
        return pa.table(columns)


def _is_kept(name: str, column: Any, vectors: frozenset[str]) -> bool:
    """Says whether a column of records goes into a pack: numbers, and labels, but no free text."""
    kind = column.type
    if pa.types.is_nested(kind):
        return name in vectors and pa.types.is_fixed_size_list(kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        values: Sequence[Any] = column.unique().to_pylist()
        return len(values) <= _MOST_LABELS and all(
            value is None or _LABEL.fullmatch(value) for value in values
        )
    return bool(pa.types.is_primitive(kind) or pa.types.is_null(kind))


def _without_text(file: CellFile) -> dict[str, Any]:
    """Returns a cell file without what may quote a sample: tracebacks, evidence of findings."""
    document = file.model_dump(mode="json")
    document["detail"] = ""
    if file.status is Status.FAILED:
        document["reason"] = "the run that this pack is of says why"
    for finding in document["findings"]:
        finding["evidence"] = {}
    return document


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), stream, compression="zstd")
    return stream.getvalue()


def _checked(path: Path) -> tuple[dict[str, bytes], str]:
    """Reads all files of a pack, holds them against its digests, and returns the run's id too."""
    files = read_archive(path, KIND)
    try:
        manifest: dict[str, Any] = json.loads(files["manifest.json"])
        _check_manifest(path, files, manifest)
        return files, checked_id(path, KIND, manifest["pack"]["run"])
    except UnreadableError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise UnreadableError(f"pack {str(path)!r} can't be read: {first}") from error


def _check_manifest(path: Path, files: Mapping[str, bytes], manifest: Mapping[str, Any]) -> None:
    facts = manifest["pack"]
    versions = (manifest["format_version"], facts["format_version"])
    if versions != (FORMAT_VERSION, PACK_FORMAT):
        raise UnreadableError(
            f"pack {str(path)!r}: expected formats {FORMAT_VERSION} and {PACK_FORMAT}, got "
            f"{versions[0]!r} and {versions[1]!r}"
        )
    stated = {**manifest["files"], **facts["views"]}
    if stated.keys() | {"manifest.json"} != files.keys():
        raise UnreadableError(f"pack {str(path)!r} holds other files than its manifest says")
    check_digests(path, KIND, files, stated)
