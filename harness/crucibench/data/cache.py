"""Folders of the cache: there whole or not at all, named by their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from crucibench.util import doors
from crucibench.util.doors import StorageError, storing
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digests, relative_name, tree_digest

_FILES = "files.txt"
_EDGE = 1 << 16


def cached_folder(parent: Path, key: str, fill: Callable[[Path], None]) -> Path:
    """Returns the folder `parent`/`key`, filled at most once, whoever is first.

    One whose files are not as they were written is made anew: of each the size, the first and the
    last 64 KiB are looked at, where readers begin.

    Args:
        parent: where such folders lie.
        key: a digest of all that decides what `fill` writes; "" names the folder by what it wrote.
        fill: writes the files of an empty folder.

    Raises:
        StorageError: if the cache can't be written to.
    """
    if key and _whole(parent / key):
        with contextlib.suppress(OSError):
            os.utime(parent / key)  # used now: pruning spares it
        return parent / key
    temporary = parent / f".{uuid.uuid4().hex}"
    try:
        doors.make_folder(temporary)
    except OSError as error:
        reason = f"the cache folder {str(parent)!r} can't be written to: {error.strerror}"
        raise StorageError(error.errno, reason) from None
    try:
        fill(temporary)
        with storing(parent):
            folder = parent / (key or tree_digest(temporary))
            doors.write_bytes(temporary / _FILES, _sizes_and_edges(temporary))
            for path in temporary.iterdir():
                _sync(path)
            if not _whole(folder):
                doors.remove_folder(folder, ignore_errors=True)
                _rename(temporary, folder)
        return folder
    finally:
        doors.remove_folder(temporary, ignore_errors=True)


def require_unchanged(files: Iterable[Path], base: Path, digests: Mapping[str, str]) -> None:
    """Raises InputError if a file is not what it was when `digests` were taken."""
    for name, digest in file_digests(files, base).items():
        _require_same(name, digest, digests)


def read_unchanged(path: Path, base: Path, digests: Mapping[str, str]) -> bytes:
    """Returns the bytes of a file; raises InputError as `require_unchanged` does."""
    content = path.read_bytes()
    _require_same(relative_name(path, base), hashlib.sha256(content).hexdigest(), digests)
    return content


def _require_same(name: str, digest: str, digests: Mapping[str, str]) -> None:
    if digests.get(name) != digest:
        raise InputError(f"{name} changed while it was being read; run again")


def _whole(folder: Path) -> bool:
    try:
        return (folder / _FILES).read_bytes() == _sizes_and_edges(folder)
    except OSError:
        return False


def _sizes_and_edges(folder: Path) -> bytes:
    """Returns a text of each file's size and the digest of its beginning and its end."""
    lines = []
    for path in sorted(folder.iterdir()):
        if path.name != _FILES:
            with path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                edges = stream.read(_EDGE)
                stream.seek(max(len(edges), size - _EDGE))
                edges += stream.read(_EDGE)
            lines.append(f"{path.name} {size} {hashlib.sha256(edges).hexdigest()}\n")
    return "".join(lines).encode()


def _rename(temporary: Path, folder: Path) -> None:
    try:
        doors.rename(temporary, folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise


def _sync(path: Path) -> None:
    with path.open("rb+") as stream:
        doors.fsync(stream.fileno())
