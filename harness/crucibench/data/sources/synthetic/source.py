"""`synthetic:NAME`: data that the project makes itself, from a seed."""

from __future__ import annotations

import importlib
from pathlib import Path

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.sources.synthetic.generator import Generator
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

_GENERATORS = {"reviews": "Reviews", "shapes": "Shapes"}
"""The class of each generator, in the module of its name."""


class SyntheticSource(DataSource):
    """Makes data of its own from a seed: reviews.

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


def _generator(uri: URI) -> Generator:
    if uri.rest not in _GENERATORS:
        raise InputError(unknown("synthetic data set", uri.rest, _GENERATORS))
    module = importlib.import_module(f"{__package__}.{uri.rest}")
    made: Generator = getattr(module, _GENERATORS[uri.rest])()
    return made
