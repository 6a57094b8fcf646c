"""Archives of others, ZIP and tar: unpacked in a stream, to no more than their size allows."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import IO, Any

from crucibench.util.text import first_line
from crucibench.util.untrusted.content import RefusedError

FREE = 256 << 20
"""Bytes that an archive, or a file in one, may unpack to whatever its size."""

RATIO_AT_MOST = 200
"""What it may unpack to beyond that, as a multiple of its size."""

_BLOCK = 1 << 20
_LISTING_AT_MOST = 16 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1


class ZipReader:
    """An archive, opened.

    Attributes:
        sizes: the name of each file to how many bytes it unpacks to; no file unpacks to more.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Opens it.

        Args:
            path: of the archive.
            name: names it in an error.

        Raises:
            RefusedError: if it is none, holds two files of one name, one that is stored in an
                unusual way, or one that unpacks to far more than it takes.
        """
        self.name = name
        self.sizes: dict[str, int] = {}
        with contextlib.ExitStack() as undo:
            with self._readable():
                self._file = undo.enter_context(_Listed(path))
                self._archive = zipfile.ZipFile(self._file)
            self._check_entries()
            undo.pop_all()

    def _check_entries(self) -> None:
        name = self.name
        for entry in self._archive.infolist():
            if entry.filename in self.sizes:
                raise RefusedError(name, "each file once", "twice", place=entry.filename)
            if entry.compress_type not in _METHODS or entry.flag_bits & _ENCRYPTED:
                raise RefusedError(
                    name, "a stored or deflated file", "another form", place=entry.filename
                )
            require_ratio(name, entry.filename, entry.compress_size, entry.file_size)
            self.sizes[entry.filename] = entry.file_size

    def close(self) -> None:
        """Closes it."""
        self._archive.close()
        self._file.close()

    def __enter__(self) -> ZipReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextlib.contextmanager
    def open(self, member: str) -> Iterator[IO[bytes]]:
        """Opens a file of the archive; what reading it raises becomes a RefusedError."""
        with self._readable(member), self._archive.open(member) as stream:
            yield stream

    def blocks(self, member: str) -> Iterator[bytes]:
        """Yields the bytes of a file.

        Raises:
            RefusedError: if they are damaged.
        """
        with self.open(member) as stream:
            while block := stream.read(_BLOCK):
                yield block

    def content(self, member: str, most: int) -> bytes:
        """Returns the bytes of a file.

        Raises:
            RefusedError: if it is missing, damaged, or larger than `most`.
        """
        if self.sizes.get(member, most + 1) > most:
            got = f"{self.sizes[member]:,}" if member in self.sizes else "no such file"
            raise RefusedError(self.name, f"at most {most:,} bytes", got, place=member)
        return b"".join(self.blocks(member))

    @contextlib.contextmanager
    def _readable(self, place: str = "") -> Iterator[None]:
        try:
            yield
        except (
            OSError, EOFError, ValueError, KeyError, NotImplementedError, RuntimeError,
            zipfile.BadZipFile, zlib.error,
        ) as error:  # fmt: skip
            got = f"a damaged one: {first_line(error)}"
            raise RefusedError(self.name, "a ZIP archive", got, place=place) from error


def require_ratio(
    name: str, place: str, stored: int, unpacked: int, free: int | None = None
) -> None:
    """Raises RefusedError if something unpacks to far more bytes than it takes."""
    if unpacked > (most := (FREE if free is None else free) + RATIO_AT_MOST * stored):
        expected = f"at most {most:,} bytes of {stored:,}"
        raise RefusedError(name, expected, f"{unpacked:,}", place=place)


class _Listed(io.FileIO):
    """A file of which only so much is read at once that a listing of entries fits in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = -1 if size is None else size
        if wanted < 0 or wanted > _LISTING_AT_MOST:
            wanted = _LISTING_AT_MOST + 1
        content = super().read(wanted) or b""
        if len(content) > _LISTING_AT_MOST:
            raise ValueError("its listing is too long")
        return content


# Tar archives of others, plain or compressed: read in a stream and written nowhere.
#
# Names that lead out, links, devices, sparse files, files of an absurd size, and archives that
# unpack to far more than they hold are refused.

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
