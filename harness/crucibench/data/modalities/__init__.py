"""Modalities: one class for each form of a sample says all that depends on that form.

A modality is registered like an adapter, so that a package adds one with one line::

    [project.entry-points."crucibench.modalities"]
    audio = "my_package.audio:AudioReader"
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.source import MainData, RawData
from crucibench.data.bad_samples import BadSampleTally
from crucibench.data.frames import frame_hints
from crucibench.data.options import InputCandidates
from crucibench.util.registry import Registry

_ARROW_NAMES = {
    "large_string": "string",
    "halffloat": "float16",
    "float": "float32",
    "double": "float64",
}

Reader = TypeVar("Reader", bound="ModalityReader")


@dataclass
class RolePass:
    """One pass over the samples of a role.

    Attributes:
        bad: shape (n,): whether a sample can't be used; its digest means nothing then.
        done: how many samples were read before those at hand.
        tally: counts the samples that turn out to be bad.
        facts: what the reader noted, and how often.
    """

    bad: NDArray[np.bool_]
    done: int = 0
    tally: BadSampleTally = field(default_factory=BadSampleTally)
    facts: Counter[Hashable] = field(default_factory=Counter)

    def leave_out(self, row: int, kind: str, sentence: str) -> None:
        """Marks the sample at `row` as bad."""
        self.bad[row] = True
        self.tally.add(kind, sentence)


class ModalityReader(ABC):
    """Reads samples of one modality from the input columns of a data set.

    The class decides about columns; an instance reads those of one data set.

    Attributes:
        name: of the modality.
        rank: the readers are asked in this order whether columns are theirs.
        column_option: the option by which a user names the input columns, which a suite's own data
            takes from the main data set; "" where it takes none.
        verbatim: whether an input is what its file says, so that ``NA`` is no missing value.
        libraries: modules that whoever asks a model about such samples imports; see `Adapter`.
    """

    name: ClassVar[str]
    rank: ClassVar[int]
    column_option: ClassVar[str] = ""
    verbatim: ClassVar[bool] = False
    libraries: ClassVar[tuple[str, ...]] = ()

    def __init__(self, raw: RawData) -> None:
        """Takes the data."""
        self.raw = raw

    # Which columns

    @classmethod
    @abstractmethod
    def claim(cls, found: InputCandidates) -> tuple[str, ...] | None:
        """Returns the columns that hold samples of this modality; None if there are none.

        Raises:
            InputError: if the samples are of this modality and the columns don't go together.
        """

    @classmethod
    def matching_inputs(cls, raw: RawData, main: MainData) -> tuple[str, ...]:
        """Returns the columns of a suite's own data that match the main data set's inputs.

        Raises:
            InputError: if there are none.
        """
        return raw.inputs

    @classmethod
    def casts(cls, main: MainData, schema: Any) -> dict[str, Any]:
        """Returns the Arrow type to which each column of a suite's own data has to be cast.

        Raises:
            InputError: if a column holds something else than in the main data set.
        """
        return {}

    def input_types(self) -> dict[str, Any]:
        """Returns the Arrow types of the inputs that a suite's own data has to share."""
        return {}

    # One pass over all samples

    @abstractmethod
    def rows_at_once(self) -> int:
        """Returns how many samples are read at a time."""

    def keeping(self, folder: Path) -> AbstractContextManager[None]:
        """Keeps in `folder`, of the cache, what the pass over all samples makes for batches."""
        return contextlib.nullcontext()

    @abstractmethod
    def digests(self, table: Any, casts: Mapping[str, Any], role: RolePass) -> NDArray[np.bytes_]:
        """Returns the digest of the content of each sample, shape (n,), dtype ``S16``.

        Args:
            table: an Arrow table of samples from `role.done` on.
            casts: the types that columns are cast to first.
            role: the pass, which takes notes and bad samples.
        """

    def form(self, passes: Mapping[str, RolePass]) -> dict[str, Any]:
        """Returns plain data on the form of the samples, by which batches are made."""
        return {}

    def features(self, form: Mapping[str, Any]) -> dict[str, str]:
        """Returns the card's description of each input."""
        schema = next(iter(self.raw.roles.values())).data.schema
        hints = frame_hints(schema)
        missing = form.get("missing", ())
        return {
            name: _type_name(schema.field(name).type, hints.get(name, {}), name in missing)
            for name in self.raw.inputs
        }

    def notes(self, passes: Mapping[str, RolePass]) -> list[str]:
        """Returns sentences for the card on what was found in the samples."""
        return []

    # Batches

    def open(self: Reader, form: Mapping[str, Any], folder: Path, main: Reader | None) -> None:
        """Prepares for making batches.

        Args:
            form: as `form` returned it.
            folder: as `keeping` was given it.
            main: the reader of the main data set, where this is a suite's own data.
        """

    def check(self, spec: InputSpec, origin: str, name: str) -> None:
        """Raises InputError if the samples can't take the form that `spec` asks for.

        Args:
            spec: what a model takes.
            origin: the role of the source's data.
            name: of the data set.
        """

    @abstractmethod
    def inputs(
        self, table: Any, origin: str, rows: NDArray[np.int64], spec: InputSpec
    ) -> tuple[Any, Sequence[tuple[int, int]]]:
        """Returns samples in canonical form, and the (height, width) of each that is an image.

        Args:
            table: an Arrow table of the inputs.
            origin: the role of the source's data.
            rows: where the samples stand in that role.
            spec: what a model takes.
        """

    def same_form(self, spec: InputSpec) -> InputSpec:
        """Returns `spec` with what it leaves open as these samples have it."""
        return spec


@cache
def modalities() -> Registry[type[ModalityReader]]:
    """Returns the registry of modalities, by name."""
    return Registry("crucibench.modalities", "modality", ModalityReader)


def reader_of(modality: str) -> type[ModalityReader]:
    """Returns the class that reads samples of a modality."""
    return modalities().get(str(modality))


def _type_name(kind: Any, hint: Mapping[str, Any], missing: bool) -> str:
    name = _ARROW_NAMES.get(str(kind), str(kind))
    if "categories" in hint:
        name = "category"
    elif "dtype" in hint:
        name = str(hint["dtype"])
    return f"{name}, some missing" if missing else name
