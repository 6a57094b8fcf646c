"""ZIP archives of others: unpacked in a stream, to no more than their size allows."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from crucibench.util.text import first_line
from crucibench.util.untrusted.refusal import RefusedError

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
