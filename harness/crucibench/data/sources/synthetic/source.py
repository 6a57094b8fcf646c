"""`synthetic:NAME`: data that the project makes itself, from a seed."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, NamedTuple

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.options import DataOptions
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


def with_groups(options: DataOptions, uri: URI, known: Sequence[str]) -> DataOptions:
    """Returns the options with the groups that they name, by default all that are `known`.

    Raises:
        InputError: if one is unknown.
    """
    for name in options.groups:
        if name not in known:
            raise InputError(unknown(f"group of synthetic:{uri.rest}", name, known))
    return replace(options, groups=options.groups or tuple(known))


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


class Shortcut(NamedTuple):
    """What ties a factor to the class; shares are in millionths, so that all is integer.

    Attributes:
        factor: that is tied, or "".
        strength: how often it is set by the class in train.
        test_strength: likewise in test.
    """

    factor: str = ""
    strength: int = 0
    test_strength: int = 0

    def notes(self, what: str) -> tuple[str, ...]:
        """Returns the card's sentence on it, if there is one; it is set by the `what`."""
        if not self.factor:
            return ()
        train, test = (f"{share / 10_000:g} %" for share in self[1:])
        return (f"{self.factor} is set by the {what} in {train} of train and {test} of test",)


def read_shortcut(uri: URI, what: str, factors: Collection[str]) -> Shortcut:
    """Reads the options ``spurious``, ``strength`` and ``test_strength``.

    Args:
        uri: of the data.
        what: how messages call a factor.
        factors: those that can be tied to the class.

    Raises:
        InputError: if the factor is unknown, a share is none, or there is one without a factor.
    """
    factor = uri.query.get("spurious", "")
    if factor and factor not in factors:
        raise InputError(unknown(what, factor, factors))
    if not factor:
        for key in ("strength", "test_strength"):
            if key in uri.query:
                raise InputError(
                    f"{uri.scheme}: option {key}: it needs spurious, the factor that is tied to "
                    f"the class: one of {', '.join(factors)}"
                )
        return Shortcut()
    return Shortcut(
        factor, _millionths(uri, "strength", 950_000), _millionths(uri, "test_strength", 0)
    )


def _millionths(uri: URI, key: str, default: int) -> int:
    if key not in uri.query:
        return default
    value = parse_number(uri.query[key])
    if not isinstance(value, float) or not 0 <= value <= 1:
        raise InputError(
            f"{uri.scheme}: option {key}: expected a share from 0 to 1, got {uri.query[key]!r}"
        )
    return round(value * 1_000_000)
