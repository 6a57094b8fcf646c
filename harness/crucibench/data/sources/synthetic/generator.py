"""What a generator of data is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from crucibench.contracts.source import DataOpening, RawData
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number


class Generator(ABC):
    """Makes the samples of ``synthetic:NAME``, the same ones on every machine.

    Draw integers (`crucibench.util.draws`), and let no float decide what a sample holds.

    Attributes:
        version: raised whenever the same options give other samples.
    """

    version: ClassVar[int]

    @abstractmethod
    def check(self, uri: URI) -> None:
        """Raises InputError if an option is unknown, or its value is."""

    @abstractmethod
    def read(self, opening: DataOpening) -> RawData:
        """Makes the data.

        Raises:
            InputError: one clear sentence.
        """


def whole_number(uri: URI, key: str, default: int, low: int, high: int) -> int:
    """Returns option `key`, a whole number from `low` to `high`.

    Raises:
        InputError: if it is something else.
    """
    if key not in uri.query:
        return default
    value = parse_number(uri.query[key])
    if not isinstance(value, float) or not low <= value <= high or value % 1:
        raise InputError(
            f"{uri.scheme}: option {key}: expected a whole number from {low:,} to {high:,}, "
            f"got {uri.query[key]!r}"
        )
    return int(value)
