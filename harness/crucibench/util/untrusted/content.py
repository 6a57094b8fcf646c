"""Bytes and texts of a file, up to a size; and the error of a file that is refused."""

from __future__ import annotations

from pathlib import Path

from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible

DOCUMENT_AT_MOST = 32 << 20
"""Bytes of a document that is held in memory whole: YAML, JSON, a list of names."""


def read_content(path: Path, name: str, most: int = DOCUMENT_AT_MOST) -> bytes:
    """Returns the bytes of a file.

    Args:
        path: the file.
        name: names it in an error.
        most: how many there may be; no more are read.

    Raises:
        RefusedError: if it is not there, can't be read or is larger; the cause is the OSError.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in its name
        why = getattr(error, "strerror", None) or str(error)
        raise RefusedError(name, "a file that can be read", why.lower()) from error
    if len(content) > most:
        raise RefusedError(name, f"at most {most:,} bytes", "more")
    return content


def read_text(path: Path, name: str, most: int = DOCUMENT_AT_MOST) -> str:
    """Returns a file as text, less a byte order mark.

    Raises:
        RefusedError: if it is no UTF-8, or as `read_content` does.
    """
    return text_of(read_content(path, name, most), name)


def text_of(content: bytes, name: str) -> str:
    """Returns bytes as text, less a byte order mark.

    Raises:
        RefusedError: if they are no UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RefusedError(
            name, "UTF-8 text", repr(content[error.start : error.end])[1:],
            place=f"byte {error.start:,}",
        ) from error  # fmt: skip


# The error of a file that is refused.


class RefusedError(InputError):
    """A file of others that can't be read, or is not read since it is out of bounds.

    Attributes:
        file: its name.
        place: where in it, "" for all of it.
        expected: what was expected there.
        got: what was found.
    """

    def __init__(self, file: str, expected: str, got: str, *, place: str = "") -> None:
        self.file = file
        self.place = visible(shorten(place, 120))
        self.expected = expected
        self.got = shorten(visible(" ".join(got.split())), 100)
        super().__init__(f"{file}: {self.sentence}")

    @property
    def sentence(self) -> str:
        """What is wrong, without the file."""
        where = f"{self.place}: " if self.place else ""
        return f"{where}expected {self.expected}, got {self.got}"

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (self.file, self.expected, self.got, self.place)


def _again(file: str, expected: str, got: str, place: str) -> RefusedError:
    return RefusedError(file, expected, got, place=place)
