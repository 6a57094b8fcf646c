"""`synthetic:NAME`: data that the project makes itself, from a seed."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown

_GENERATORS = {"reviews": "Reviews", "shapes": "Shapes"}
"""The class of each generator, in the module of its name."""


class SampleGenerator(ABC):
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


class SyntheticSource(DataSource):
    """Makes data of its own from a seed: reviews or images of shapes.

    The same options give the same samples on every machine.
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the generator's version: all else follows from the options."""
        generator = _generator(uri)
        generator.check(uri)
        return Sources(facts={f"synthetic:{uri.rest}": str(generator.version)})

    def read(self, opening: DataOpening) -> RawData:
        """Makes the data, or takes it from the cache."""
        return _generator(opening.uri).read(opening)


def _generator(uri: URI) -> SampleGenerator:
    if uri.rest not in _GENERATORS:
        raise InputError(unknown("synthetic data set", uri.rest, _GENERATORS))
    module = importlib.import_module(f"{__package__}.{uri.rest}")
    made: SampleGenerator = getattr(module, _GENERATORS[uri.rest])()
    return made


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


def strengths(uri: URI, spurious: str, factors: Iterable[str]) -> tuple[int, int]:
    """Returns how often a factor is set by the class in train and test, in millionths.

    Args:
        uri: of the data, with options ``strength`` and ``test_strength``.
        spurious: the factor, or "".
        factors: those that there are.

    Raises:
        InputError: if a share is none, or there is one without a factor.
    """
    if not spurious:
        for key in ("strength", "test_strength"):
            if key in uri.query:
                raise InputError(
                    f"{uri.scheme}: option {key}: it needs spurious, the factor that is tied to "
                    f"the class: one of {', '.join(factors)}"
                )
        return 0, 0
    return _millionths(uri, "strength", 950_000), _millionths(uri, "test_strength", 0)


def _millionths(uri: URI, key: str, default: int) -> int:
    if key not in uri.query:
        return default
    value = parse_number(uri.query[key])
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise InputError(
            f"{uri.scheme}: option {key}: expected a share from 0 to 1, got {uri.query[key]!r}"
        )
    return round(value * 1_000_000)
