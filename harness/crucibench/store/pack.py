"""Packs: one small, checked file of a run, for a team to commit and compare with.

A ZIP archive, ``*.cbz``, of a run directory without what pairing does not need: no inputs, no free
text, no names of samples, no tracebacks, no audits' probes; group columns only where asked for; ids
and digests of data sealed (`crucibench.store.seal`). Equal runs give equal bytes. Its manifest has
the digest of every file, and the archive's comment that of all its bytes before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from crucibench.contracts.data import DataCard, Samples
from crucibench.contracts.lists import item_type
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Status
from crucibench.store.archive import PackedRun, Unpacked, checked_id, unpack, write_archive
from crucibench.store.cells import CellFile
from crucibench.store.documents import read_document
from crucibench.store.layout import FORMAT_VERSION
from crucibench.store.redaction import cluster_codes, json_text, parquet
from crucibench.store.run import Run
from crucibench.store.seal import Seal
from crucibench.store.tables import read_table, samples_to_table
from crucibench.util.hashing import data_digest

PACK_FORMAT: Literal[1] = 1
SUFFIX = ".cbz"

_DIGESTS = re.compile(r"\b[0-9a-f]{32}(?:[0-9a-f]{32})?\b")
_LABEL = re.compile(r"[\w.=+:/-]{0,40}")
_MOST_LABELS = 64
KIND = "pack"


@dataclass(frozen=True)
class PackContents:
    """What comparing reads of a run.

    Attributes:
        vectors: cell id to the names of the vector columns that are read; cells that are not among
            the keys keep no records.
        limits: (data, role, limit) to the rows of the sample table that the limit keeps.
    """

    vectors: Mapping[str, frozenset[str]]
    limits: Mapping[tuple[str, str, int], Any]


def write_pack(
    run: Run, path: Path, kept: PackContents, version: str, *, with_groups: bool
) -> None:
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
            "run": checked_id(run.id),
            "with_groups": with_groups,
            "views": {"metrics.parquet": digests["metrics.parquet"]},
        },
    }
    files["manifest.json"] = json_text(manifest).encode()
    write_archive(path, KIND, files)


def open_pack(path: Path) -> PackRun:
    """Opens a pack: it is unpacked into a folder that goes when the run is no longer used.

    Raises:
        UnreadableError: if it is no pack, damaged, or of another format.
    """
    return PackRun(*unpack(path, KIND, PACK_FORMAT, "views"))


def opened_together(first: Run, second: Run) -> tuple[Run, Run]:
    """Returns two runs to be compared; a pack beside a run on the same data gets its ids back."""
    if isinstance(first, PackRun) and not isinstance(second, PackRun):
        return first.opened(second), second
    if isinstance(second, PackRun) and not isinstance(first, PackRun):
        return first, second.opened(first)
    return first, second


class _Packer:
    """Makes the files of a pack."""

    def __init__(self, run: Run, kept: PackContents, *, with_groups: bool) -> None:
        self.run = run
        self.kept = kept
        self.with_groups = with_groups
        self.seals = {name: Seal(card.fingerprint) for name, card in run.cards.items()}
        self.stands_for: dict[str, str] = {}
        for name, card in run.cards.items():
            seal = self.seals[name]
            self.stands_for[card.fingerprint] = seal.data
            for digest in _digests_of(card):
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
            "metrics.parquet": parquet(read_table(layout.metrics)),
        }
        for path in sorted(layout.environment.glob("*.json")):
            files[self._name(path)] = self._sealed(read_document(path))
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
                    files[self._name(layout.shard(cell, 0, 0))] = parquet(table)
        return files

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run.root).as_posix()

    def _spec(self) -> bytes:
        from crucibench.util.untrusted.yaml_text import dump_yaml

        spec = dict(self.run.spec)
        resolved = dict(spec["resolved"])
        # Names and digests of single files would reveal what the data is made of.
        resolved["digests"] = {
            key: {"sealed": self.seals[name].digest(data_digest(value))}
            if key.startswith("data.")
            and (name := key.removeprefix("data.").partition(":")[0]) in self.seals
            else value
            for key, value in resolved["digests"].items()
        }
        return self._in_text(dump_yaml({**spec, "resolved": resolved})).encode()

    def _sealed(self, document: Any) -> bytes:
        return self._in_text(json_text(document)).encode()

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
            clusters = cluster_codes(clusters)
        groups = samples.groups if self.with_groups else samples.groups[[]]
        targets = self.run.cards[name].task.definition.packed(samples.targets)
        table = samples_to_table(
            type(samples)(self.seals[name].identities(samples.ids), targets, groups, clusters)
        )
        for (data, of_role, limit), rows in sorted(
            self.kept.limits.items(), key=lambda entry: entry[0]
        ):
            if (data, of_role) == (name, role):
                chosen = np.zeros(len(samples), dtype=np.bool_)
                chosen[rows] = True
                table = table.append_column(f"limit:{limit}", pa.array(chosen))
        return parquet(table)

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
        return name in vectors and pa.types.is_primitive(item_type(kind))
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


class PackRun(PackedRun):
    """A run read from an unpacked pack; with a run on the same data its ids can be read."""

    def __init__(self, place: Unpacked, run: str, by: Run | None = None) -> None:
        """Opens it.

        Args:
            place: where it was unpacked.
            run: the run's id.
            by: a run that may have the same data.
        """
        super().__init__(place, run)
        self._by = by
        self._sealed_ids: dict[tuple[str, str], tuple[pd.Index[str], NDArray[np.object_]]] = {}

    def opened(self, by: Run) -> PackRun:
        """Returns the pack with the ids of `by` wherever that has the same data."""
        return PackRun(self._place, self.id, by)

    @cached_property
    def cards(self) -> dict[str, DataCard]:
        """The data cards by data set name."""
        found = super().cards
        clear = self._clear

        def opened(card: DataCard) -> DataCard:
            changes: dict[str, Any] = {
                name: _opened(getattr(card, name), clear) for name in _DIGESTS_BY_ROLE
            }
            fingerprint = clear.get(card.fingerprint, card.fingerprint)
            return replace(card, fingerprint=fingerprint, **changes)

        return {name: opened(card) for name, card in found.items()}

    @cached_property
    def cells(self) -> dict[str, CellFile]:
        """All cells by id, in the order of their ids."""
        found = super().cells
        clear = self._clear
        return {
            name: file.model_copy(
                update={
                    "ids_digest": clear.get(file.ids_digest, file.ids_digest),
                    "comparison": _opened(file.comparison, clear),
                }
            )
            for name, file in found.items()
        }

    def cell_records(self, cell: str) -> Records:
        """Returns what the pack has of a cell's records; empty if there are none."""
        records = super().cell_records(cell)
        file = self.cells[cell]
        if not len(records) or file.data not in self._partners:
            return records
        ids = pa.array(self._names(file.data, file.role, records.ids), pa.string())
        table = records.table
        return Records(table.set_column(table.column_names.index("id"), "id", ids))

    def probes(self, cell: str, names: Iterable[str]) -> dict[str, Records]:
        """Returns none: probes are evidence for audits, which were made before packing."""
        return {}

    def samples(self, data: str, role: str) -> Samples:
        """Returns a role's sample table; empty where the pack has none.

        Of data that the other run has, it has the group columns that the pack was made without.
        """
        if not self.layout.sample_table(data, role).is_file():
            empty = np.empty(0, dtype=object)
            return Samples(empty, np.empty(0, dtype=np.int64), pd.DataFrame())
        samples = super().samples(data, role)
        if data not in self._partners or self._by is None:
            return samples
        samples = samples.replaced(ids=self._names(data, role, samples.ids))
        theirs = self._by.samples(self._partners[data], role)
        rows = pd.Index(theirs.ids).get_indexer(pd.Index(samples.ids))
        if len(samples.groups.columns) or (rows < 0).any():
            return samples
        groups = theirs.groups.iloc[rows].reset_index(drop=True)
        return samples.replaced(groups=groups)

    def rows_within(self, data: str, role: str, limit: int) -> NDArray[np.int64] | None:
        """Returns the rows that a limit keeps: sealed ids can't say so themselves."""
        table = read_table(self.layout.sample_table(data, role))
        name = f"limit:{limit}"
        if name not in table.column_names:
            return None
        chosen = table.column(name).to_numpy(zero_copy_only=False).astype(np.bool_)
        return np.flatnonzero(chosen).astype(np.int64)

    @cached_property
    def _partners(self) -> dict[str, str]:
        """The pack's data sets that the other run has too, by their names there."""
        if self._by is None:
            return {}
        known = {Seal(card.fingerprint).data: name for name, card in self._by.cards.items()}
        stored = Run(self.root).cards  # as sealed; `self.cards` needs the partners
        return {
            name: known[card.fingerprint]
            for name, card in stored.items()
            if card.fingerprint in known
        }

    @cached_property
    def _clear(self) -> dict[str, str]:
        """What seals stand for, as far as the other run knows."""
        if self._by is None:
            return {}
        clear: dict[str, str] = {}
        for name in self._partners.values():
            card = self._by.cards[name]
            seal = Seal(card.fingerprint)
            clear[seal.data] = card.fingerprint
            digests = [*_digests_of(card)]
            digests += [file.ids_digest for file in self._by.cells.values() if file.data == name]
            clear |= {seal.digest(digest): digest for digest in digests}
        return clear

    def _names(self, data: str, role: str, ids: NDArray[Any]) -> NDArray[np.object_]:
        """Returns the ids that sealed ones stand for, where the other run has them."""
        index, names = self._sealed(data, role)
        rows = index.get_indexer(pd.Index(ids))
        found = np.asarray(ids, dtype=object).copy()
        found[rows >= 0] = names[rows[rows >= 0]]
        return found

    def _sealed(self, data: str, role: str) -> tuple[pd.Index[str], NDArray[np.object_]]:
        if (data, role) not in self._sealed_ids:
            by, name = self._by, self._partners[data]
            assert by is not None  # else there are no partners
            ids = np.empty(0, dtype=object)
            if by.layout.sample_table(name, role).is_file():
                ids = by.samples(name, role).ids
            sealed = Seal(by.cards[name].fingerprint).identities(ids)
            self._sealed_ids[data, role] = (pd.Index(sealed), ids)
        return self._sealed_ids[data, role]


_DIGESTS_BY_ROLE = ("ids_digest", "group_digests", "role_fingerprints")


def _digests_of(card: DataCard) -> Iterator[str]:
    for name in _DIGESTS_BY_ROLE:
        yield from getattr(card, name).values()


def _opened(fields: Mapping[str, Any], clear: Mapping[str, str]) -> dict[str, Any]:
    """Returns fields with what seals stand for, one mapping deep: the digests of suites' roles."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, str):
            found[key] = clear.get(value, value)
        elif key == "role_fingerprints":
            found[key] = {role: clear.get(digest, digest) for role, digest in value.items()}
        else:
            found[key] = value
    return found
