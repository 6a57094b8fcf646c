"""ZIP archives of which every change is found: the comment holds a digest of all other bytes.

Entries are sorted and dated 1980, and the archive's comment ends in the SHA-256 of all bytes before
it, so that a flipped bit anywhere is found before anything is read.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from crucibench.store.layout import FORMAT_VERSION, is_inside, is_run_id
from crucibench.store.run import Run
from crucibench.util import doors
from crucibench.util.atomic import write_atomically
from crucibench.util.doors import storing
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.text import first_line, shorten
from crucibench.util.untrusted.archive import ZipReader, require_ratio
from crucibench.util.untrusted.content import DOCUMENT_AT_MOST, RefusedError
from crucibench.util.untrusted.json_text import parse_json
from crucibench.util.untrusted.parquet import require_bounded

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MANIFEST = "manifest.json"
_BLOCK = 1 << 20
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
        tail = stream.read(_DIGITS + 64)[:-_DIGITS]
    return next((kind for kind in ("pack", "bundle") if tail.endswith(_comment(kind))), "")


def unpack(path: Path, kind: str, version: int, beside: str) -> tuple[Unpacked, str]:
    """Unpacks an archive whose files fit its manifest; returns them, and the id of the run.

    Its files are written one block after the other: memory holds the manifest and no other whole.

    Args:
        path: of the archive.
        kind: what it is: ``pack`` or ``bundle``.
        version: of the kind's format.
        beside: the entry of the manifest's own part on the kind that holds more files' digests.

    Raises:
        UnreadableError: if it is of another kind or format, damaged, or larger than any.
    """
    try:
        return _unpacked(path, f"{kind} {str(path)!r}", kind, version, beside)
    except RefusedError as error:
        raise UnreadableError(str(error)) from error


def _unpacked(path: Path, what: str, kind: str, version: int, beside: str) -> tuple[Unpacked, str]:
    if kind_of(path) != kind:
        raise RefusedError(what, f"a whole {kind}", "another file, or a part of one")
    _check_whole(path, what)
    with ZipReader(path, what) as archive:
        require_ratio(what, "", path.stat().st_size, sum(archive.sizes.values()))
        content = archive.content(_MANIFEST, DOCUMENT_AT_MOST)
        name = f"{what}: {_MANIFEST}"
        stated, run = _stated(parse_json(content, name), name, kind, version, beside)
        if stated.keys() | {_MANIFEST} != archive.sizes.keys():
            raise RefusedError(what, "the files that its manifest names", "others")
        stated[_MANIFEST] = hashlib.sha256(content).hexdigest()
        files = ((file, _sound(archive, file, digest)) for file, digest in stated.items())
        place = Unpacked(files)
    try:
        for table in sorted(place.root.rglob("*.parquet")):
            require_bounded(table, f"{what}: {table.relative_to(place.root).as_posix()}")
    except BaseException:
        place.close()
        raise
    return place, run


def _sound(archive: ZipReader, file: str, digest: str) -> Iterator[bytes]:
    """Yields the blocks of a file; RefusedError at its end if it has another digest."""
    found = hashlib.sha256()
    for block in archive.blocks(file):
        found.update(block)
        yield block
    if found.hexdigest() != digest:
        expected = "the content that the manifest states"
        raise RefusedError(archive.name, expected, "another", place=file)


def _stated(
    manifest: Any, name: str, kind: str, version: int, beside: str
) -> tuple[dict[str, str], str]:
    """Returns the digest of each file that a manifest names, and the id of its run."""
    try:
        facts = manifest[kind]
        versions = (manifest["format_version"], facts["format_version"])
        stated = {**manifest["files"], **facts[beside]}
        run = facts["run"]
    except (LookupError, TypeError) as error:
        raise RefusedError(name, f"the account of a {kind}", f"no {first_line(error)}") from error
    if versions != (FORMAT_VERSION, version):
        got = f"{versions[0]!r} and {versions[1]!r}"
        raise RefusedError(name, f"formats {FORMAT_VERSION} and {version}", got)
    # The archive may have been made to do harm: these become parts of paths.
    if not is_run_id(run):
        raise RefusedError(name, "the id of a run, a plain name", repr(run), place="run")
    for file, digest in stated.items():
        if not is_inside(file) or file == _MANIFEST:
            raise RefusedError(name, "files inside the run", repr(file), place="files")
        if not isinstance(digest, str):
            raise RefusedError(name, "a digest", repr(digest), place=file)
        if any(folder in stated for folder in _folders_of(file)):
            raise RefusedError(name, "folders above a file", "a file", place=file)
    return stated, run


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

    def __init__(self, files: Iterable[tuple[str, Iterable[bytes]]]) -> None:
        """Writes files: names, which must have been checked, and contents in blocks."""
        made = Path(tempfile.mkdtemp(prefix="crucibench-"))
        self._remove = weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        self.root = made / "run"
        try:
            with storing(made):
                for name, blocks in files:
                    target = self.root / name
                    doors.make_folder(target.parent)
                    with doors.open_file(target, "xb") as stream:
                        stream.writelines(blocks)
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


def _check_whole(path: Path, what: str) -> None:
    """Raises RefusedError unless an archive ends with the digest of all its other bytes."""
    left = path.stat().st_size - _DIGITS
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while left > 0 and (block := stream.read(min(_BLOCK, left))):
            found.update(block)
            left -= len(block)
        if stream.read(_DIGITS) != found.hexdigest().encode():
            raise RefusedError(what, "the content that its end states", "another: it is damaged")
