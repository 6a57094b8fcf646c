"""Tar archives of others, plain or compressed: read in a stream and written nowhere.

Names that lead out, links, devices, sparse files, files of an absurd size, and archives that unpack
to far more than they hold are refused.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from crucibench.util.text import first_line
from crucibench.util.untrusted.archive import require_ratio
from crucibench.util.untrusted.refusal import RefusedError

FILE_AT_MOST = 256 << 20
"""Bytes of one file in an archive."""

_PIECE = 1 << 20
_HEADER_AT_MOST = 1 << 20
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)


@dataclass(frozen=True)
class TarFile:
    """A file of an archive.

    Attributes:
        name: with ``/`` between folders.
        content: its bytes.
    """

    name: str
    content: bytes


def tar_files(path: Path) -> Iterator[TarFile]:
    """Yields the files of an archive, plain or compressed by gzip, bzip2 or xz, in their order.

    Memory holds one of them.

    Raises:
        RefusedError: if the archive is damaged or out of bounds.
    """
    try:
        with _opened(path) as stream:
            forward = _Forward(stream, path)
            with tarfile.TarFile(fileobj=forward, mode="r") as archive:  # type: ignore[arg-type]
                member = archive.next()
                while member is not None:
                    _require_harmless(member, path)
                    if member.isreg():
                        forward.allow(member.size)
                        content = archive.extractfile(member)
                        if content is not None:
                            yield TarFile(member.name, content.read())
                        forward.allow(0)
                    # What was read is forgotten: memory does not grow with the archive.
                    archive.members.clear()  # type: ignore[attr-defined]
                    member = archive.next()
    except _DAMAGE as error:
        raise RefusedError(path.name, "a tar archive", f"a damaged one: {first_line(error)}") from (
            error
        )


def _opened(path: Path) -> IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")
    if magic[:3] == b"BZh":
        return bz2.open(path, "rb")
    if magic == b"\xfd7zXZ\x00":
        return lzma.open(path, "rb")
    return path.open("rb")


def _require_harmless(member: tarfile.TarInfo, archive: Path) -> None:
    parts = member.name.replace("\\", "/").split("/")
    expected, got = "", ""
    if ".." in parts or member.name.startswith(("/", "\\")) or PureWindowsPath(member.name).drive:
        expected, got = "names inside the archive", "one that leads out of it"
    elif member.issym() or member.islnk():
        expected, got = "files and folders", "a link"
    elif member.issparse() or not (member.isreg() or member.isdir()):
        expected, got = "files and folders", "something else"
    elif member.size > FILE_AT_MOST:
        expected, got = f"at most {FILE_AT_MOST:,} bytes", f"{member.size:,}"
    if expected:
        raise RefusedError(archive.name, expected, got, place=repr(member.name))


class _Forward:
    """A stream that `tarfile` reads forward only, and never much of at once.

    `tarfile` reads what a header announces, however much that is; and what a compressed stream
    unpacks to has no bound.
    """

    def __init__(self, stream: Any, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._place = 0
        self._at_once = _HEADER_AT_MOST
        self._size = path.stat().st_size

    def allow(self, size: int) -> None:
        """Lets the next read be of `size` bytes."""
        self._at_once = max(size, _HEADER_AT_MOST)

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        if whence != 0 or place < self._place:
            raise tarfile.StreamError("expected to go forward")
        while self._place < place:
            if not self._take(min(_PIECE, place - self._place)):
                break
        return self._place

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._at_once:
            raise RefusedError(
                self._path.name, f"a header of at most {self._at_once:,} bytes", f"{size:,}"
            )
        return self._take(size)

    def _take(self, size: int) -> bytes:
        content: bytes = self._stream.read(size)
        self._place += len(content)
        require_ratio(self._path.name, "", self._size, self._place)
        return content
