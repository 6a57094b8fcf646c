"""The error of a file that is refused."""

from __future__ import annotations

from crucibench.util.errors import InputError
from crucibench.util.text import shorten, visible


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
