"""ZIP archives of which every change is found: the comment holds a digest of all other bytes.

Entries are sorted and dated 1980, and the archive's comment ends in the SHA-256 of all bytes before
it, so that a flipped bit anywhere is found before anything is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from crucibench.store.layout import FORMAT_VERSION, is_inside, is_run_id
from crucibench.store.run import Run
from crucibench.util import doors
from crucibench.util.atomic import storing, write_atomically
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.text import first_line, shorten

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MOST_BYTES = 1 << 32
_DIGITS = 64


def write_archive(path: Path, kind: str, files: Mapping[str, bytes]) -> None:
    """Writes an archive atomically.

    Args:
        path: where to; its folder is made where it is not there.
        kind: what it is: ``pack`` or ``bundle``.
        files: name to content.
    """
    content = _archive(kind, files)
    doors.make_folder(path.parent)

    def write(temporary: Path) -> None:
        doors.write_bytes(temporary, content)

    write_atomically(path, write)


def kind_of(path: Path) -> str:
    """Returns the kind of an archive, as its end says; "" if it is none of ours."""
    with path.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - _DIGITS - 64))
        tail = stream.read()[:-_DIGITS]
    return next((kind for kind in ("pack", "bundle") if tail.endswith(_comment(kind))), "")


def read_archive(path: Path, kind: str) -> dict[str, bytes]:
    """Returns the files of an archive by name, after checking that no byte has changed.

    Raises:
        UnreadableError: if it is of another kind, damaged, or larger than any.
    """
    try:
        content = path.read_bytes()
        _check_whole(path, kind, content)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _check_size(path, kind, archive)
            return {name: archive.read(name) for name in archive.namelist()}
    except UnreadableError:
        raise
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableError(f"{kind} {str(path)!r} can't be read: {first_line(error)}") from error


def read_checked(path: Path, kind: str, version: int, beside: str) -> tuple[dict[str, bytes], str]:
    """Returns the files of an archive that fit its manifest, and the id of the run that it states.

    Args:
        path: of the archive.
        kind: what it is: ``pack`` or ``bundle``.
        version: of the kind's format.
        beside: the entry of the manifest's own part on the kind that holds more files' digests.

    Raises:
        UnreadableError: if it is of another kind or format, or damaged.
    """
    files = read_archive(path, kind)
    what = f"{kind} {str(path)!r}"
    try:
        manifest: dict[str, Any] = json.loads(files["manifest.json"])
        facts = manifest[kind]
        versions = (manifest["format_version"], facts["format_version"])
        if versions != (FORMAT_VERSION, version):
            raise UnreadableError(
                f"{what}: expected formats {FORMAT_VERSION} and {version}, got "
                f"{versions[0]!r} and {versions[1]!r}"
            )
        stated = {**manifest["files"], **facts[beside]}
        if stated.keys() | {"manifest.json"} != files.keys():
            raise UnreadableError(f"{what} holds other files than its manifest says")
        _check_digests(what, files, stated)
        run = facts["run"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(f"{what} can't be read: {first_line(error)}") from error
    # The archive may have been made to do harm: its run id becomes part of paths.
    if not isinstance(run, str) or not is_run_id(run):
        raise UnreadableError(
            f"{what} can't be read: expected the id of a run, a plain name, got "
            f"{shorten(repr(run))}"
        )
    return files, run


def _check_digests(what: str, files: Mapping[str, bytes], stated: Mapping[str, str]) -> None:
    """Raises UnreadableError if a file has another digest, or a name that leads out of a folder."""
    for name, digest in stated.items():
        if not is_inside(name):
            raise UnreadableError(f"{what} holds a file outside of it: {shorten(name)!r}")
        if any(folder in stated for folder in _folders_of(name)):
            raise UnreadableError(f"{what} holds {name!r} below a file")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise UnreadableError(f"{what} is damaged: {name} has changed")


def checked_id(run: str) -> str:
    """Returns a run's id as an archive may state it.

    Raises:
        InputError: if its folder is called what no reader would take.
    """
    if not is_run_id(run):
        raise InputError(
            f"run {shorten(run)!r}: its folder's name can't stand in a file: call it by letters, "
            "digits, dashes and dots"
        )
    return run


class Unpacked:
    """The files of an archive, in a temporary folder that this process made.

    Only that folder is ever removed, and here alone: when it is closed, when nobody uses it any
    more, or when the process ends. What the archive says of itself names nothing on disk.

    Attributes:
        root: the folder that the files lie in, below the one that was made.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Writes the files; their names must have been checked."""
        made = Path(tempfile.mkdtemp(prefix="crucibench-"))
        self._remove = weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        self.root = made / "run"
        try:
            with storing(made):
                for name, content in files.items():
                    target = self.root / name
                    doors.make_folder(target.parent)
                    doors.write_bytes(target, content)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Removes the folder that was made."""
        self._remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PackedRun(Run):
    """A run read from a file; its folder goes when no run uses it any more."""

    packed = True

    def __init__(self, place: Unpacked, run: str) -> None:
        """Opens it.

        Args:
            place: where it was unpacked; kept as long as this is.
            run: the run's id, which the file states.
        """
        super().__init__(place.root)
        self._place = place
        self._id = run

    @property
    def id(self) -> str:
        """The id of the run that the file was made of."""
        return self._id


def _folders_of(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _archive(kind: str, files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            # Parquet files are compressed already.
            method = zipfile.ZIP_STORED if name.endswith(".parquet") else zipfile.ZIP_DEFLATED
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = method
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files[name])
        archive.comment = _comment(kind) + b"0" * _DIGITS
    body = stream.getvalue()[:-_DIGITS]
    return body + hashlib.sha256(body).hexdigest().encode()


def _comment(kind: str) -> bytes:
    return f"crucibench {kind} sha256:".encode()


def _check_size(path: Path, kind: str, archive: zipfile.ZipFile) -> None:
    if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
        raise UnreadableError(f"{kind} {str(path)!r} is larger than any {kind}: it is not opened")


def _check_whole(path: Path, kind: str, content: bytes) -> None:
    body, stated = content[:-_DIGITS], content[-_DIGITS:]
    if not body.endswith(_comment(kind)):
        raise UnreadableError(f"{str(path)!r} is no {kind}, or not all of it is there")
    if hashlib.sha256(body).hexdigest().encode() != stated:
        raise UnreadableError(f"{kind} {str(path)!r} is damaged: its content has changed")
