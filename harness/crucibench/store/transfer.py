"""Copies files whose digests are known: all or none."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import uuid
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crucibench.store.layout import ARTIFACTS, stage_of
from crucibench.store.tables import read_table, write_table
from crucibench.util import doors
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import file_digest

_BLOCK = 1 << 20
_RECORDS = "records-"


class DamagedError(Exception):
    """A file is missing, or not what its digest says."""


def copy_file(source: Path, target: Path, digest: str) -> None:
    """Copies a file whose SHA-256 is known, and syncs the copy to disk.

    Never a link: what happens to one of the two must not reach the other.

    Raises:
        DamagedError: if `source` is missing or has another digest.
        OSError: if `target` exists, or either can't be used.
    """
    try:
        stream = source.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise DamagedError(f"{source.name} is missing") from error
    found = hashlib.sha256()
    with stream, doors.open_file(target, "xb") as sink:
        while block := stream.read(_BLOCK):
            found.update(block)
            sink.write(block)
        sink.flush()
        doors.fsync(sink.fileno())
    if found.hexdigest() != digest:
        raise DamagedError(f"{source.name} has changed")


def copy_into(
    folder: Path, files: Mapping[str, str], into: Path, unwanted: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Copies files of `folder` into `into`, each atomically, once all are found to be sound.

    Args:
        folder: where they lie.
        files: name to SHA-256.
        into: is made where it is not there.
        unwanted: columns to leave out of records, and artefacts, as ``artifacts/NAME``, to leave
            out altogether. What is written then is the same to the byte as if they had never been
            there.

    Returns:
        Name to SHA-256 of what now lies in `into`.

    Raises:
        DamagedError: if one is not sound; then `into` is as it was.
        OSError: if a file can't be read or written.
    """
    made = not into.is_dir()
    staged: dict[str, Path] = {}
    placed: list[Path] = []
    copied: dict[str, str] = {}
    try:
        doors.make_folder(into)
        for name, digest in files.items():
            if stage_of(name) is not None and name.rsplit("-", 2)[0] in unwanted:
                continue  # an artefact that is left out
            place = into / name
            doors.make_folder(place.parent)
            # Hidden files, not a hidden folder: a manifest passes over them if this is killed.
            staged[name] = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
            copy_file(folder / name, staged[name], digest)
            copied[name] = digest
            if unwanted and name.startswith(_RECORDS) and _drop(staged[name], unwanted):
                copied[name] = file_digest(staged[name])
        for name, temporary in staged.items():
            temporary.replace(into / name)
            placed.append(into / name)
    except BaseException:
        for path in (*staged.values(), *placed):
            with contextlib.suppress(OSError):
                doors.unlink(path, missing_ok=True)
        for folder_made in (into / ARTIFACTS, *([into] if made else [])):
            with contextlib.suppress(OSError):  # which what is in it keeps
                folder_made.rmdir()
        raise
    return copied


def _drop(path: Path, columns: frozenset[str]) -> bool:
    """Writes records again without some of their columns; False if they have none of these."""
    try:
        table = read_table(path)
        present = [name for name in table.column_names if name in columns]
        if not present:
            return False
        fewer, schema = table.drop_columns(present), _schema_as_written(path)
        # One chunk, as a shard is written: where pages end depends on it.
        fewer = fewer.cast(pa.schema([schema.field(name) for name in fewer.column_names]))
        fewer = fewer.combine_chunks()
    except (UnreadableError, LookupError, ValueError, pa.ArrowException) as error:
        raise DamagedError(f"{path.name} is no table of records") from error
    write_table(path, fewer)
    return True


def _schema_as_written(path: Path) -> pa.Schema:
    # Parquet has its own name for the entries of a list, and reading gives that.
    stored = (pq.read_metadata(path).metadata or {}).get(b"ARROW:schema", b"")
    return pa.ipc.read_schema(pa.BufferReader(base64.b64decode(stored)))
