"""`python:FILE.py:FACTORY`, and live objects: data that the user's own code makes."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.contracts.uri import URI
from crucibench.data.hub import import_datasets
from crucibench.data.live import EXPECTED, OPTIONS, is_data, read_object
from crucibench.data.options import DataOptions
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory, load_factory, parse_factory


class PythonSource(DataSource):
    """Calls a factory without arguments, or takes a live object.

    What either may be: a `datasets.Dataset`, a torch `Dataset` of pairs, a data frame, ``(X, y)``
    of arrays, tensors, frames or texts, or a dict from role (``test``, ``train``, ``ood/...``) to
    one of these. A `datasets.DatasetDict` is such a dict. See `crucibench.data.live`.

    A factory that loads from the hub needs ``HF_DATASETS_OFFLINE=0`` in the environment.

    Options beside those of `DataOptions`: ``layout`` (nchw, nhwc or nhw) of image arrays.
    """

    options: ClassVar[tuple[str, ...]] = OPTIONS
    runs_code: ClassVar[bool] = True

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        """Returns the factory's file and the project files that it imports."""
        DataOptions.parse(uri, *OPTIONS)
        return Sources(parse_factory(uri.rest, base).files)

    @classmethod
    def accepts(cls, data: object) -> bool:
        """Whether a live object is data."""
        return is_data(data)

    def read(self, opening: DataOpening) -> RawData:
        """Calls the factory, or takes the live object."""
        options = DataOptions.parse(opening.uri, *OPTIONS, main=opening.main)
        data = opening.live
        if data is None:
            rest = opening.uri.rest
            import_datasets()  # before the factory does, so that it is offline in any order
            factory = load_factory(parse_factory(rest, opening.base))
            data = call_factory(factory, rest)
            if not is_data(data):
                raise InputError(f"{rest}: expected {EXPECTED}, got {type(data).__name__}")
        return read_object(data, opening, options)
