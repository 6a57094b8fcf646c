"""The files in a tar archive that nobody vouches for: read in a stream, written nowhere.

Nothing is unpacked to disk, so that a name can't lead anywhere; an archive that tries is refused
all the same, as are links, devices, sparse files, files of an absurd size, and archives that unpack
to far more than they hold.
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
from typing import IO

from crucibench.util.errors import InputError

FILE_AT_MOST = 256 << 20
"""Bytes of one file in an archive."""

RATIO_AT_MOST = 100
"""What a compressed archive may unpack to, as a multiple of its size, beyond `FREE`."""

FREE = 256 << 20
"""Bytes that an archive may unpack to whatever its size."""

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
        InputError: if the archive is damaged or refused.
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
    except InputError:
        raise
    except _DAMAGE as error:
        raise InputError(f"{path.name} can't be read as tar: {error}") from None


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
    what = f"{archive.name}: {member.name!r}"
    parts = member.name.replace("\\", "/").split("/")
    if ".." in parts or member.name.startswith(("/", "\\")) or PureWindowsPath(member.name).drive:
        raise InputError(f"{what} leads out of the archive: it is not read")
    if member.issym() or member.islnk():
        raise InputError(f"{what} is a link: archives with links are not read")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise InputError(f"{what} is no plain file or folder: archives with such are not read")
    if member.size > FILE_AT_MOST:
        raise InputError(
            f"{what} has {member.size:,} bytes, expected at most {FILE_AT_MOST:,}: it is not read"
        )


class _Forward:
    """A stream that `tarfile` reads forward only, and never much of at once.

    `tarfile` reads what a header announces, however much that is; and what a compressed stream
    unpacks to has no bound.
    """

    def __init__(
        self, stream: IO[bytes] | gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile, path: Path
    ) -> None:
        self._stream = stream
        self._path = path
        self._place = 0
        self._at_once = _HEADER_AT_MOST
        self._total = FREE + RATIO_AT_MOST * path.stat().st_size

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
            raise InputError(
                f"{self._path.name}: a header announces {size:,} bytes, expected at most "
                f"{self._at_once:,}: it is not read"
            )
        return self._take(size)

    def _take(self, size: int) -> bytes:
        content = self._stream.read(size)
        self._place += len(content)
        if self._place > self._total:
            raise InputError(
                f"{self._path.name} unpacks to more than {RATIO_AT_MOST} times its size: it is not "
                "read"
            )
        return content
