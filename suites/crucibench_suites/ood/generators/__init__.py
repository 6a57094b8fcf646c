"""Generators by name and modality: each makes an unfamiliar sample of a familiar one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from crucibench.contracts.batch import Batch
from crucibench.contracts.task import Modality
from crucibench.util.draws import Draws

Kind = Literal["near", "far", "validation"]


@dataclass(frozen=True)
class Making:
    """What a generator works with.

    Attributes:
        batch: samples of the test role in canonical form.
        draws: keyed draws of the generator's stream.
        partners: for each sample another of the test role, of another class where there is one;
            None where the generator did not ask for them.
    """

    batch: Batch
    draws: Draws
    partners: Batch | None = None


class Generator(ABC):
    """Makes one sample of another.

    Attributes:
        name: as users type it.
        kind: whether what it makes is near to the known data or far from it; ``validation`` sets
            choose hyper-parameters and are never scored.
        definition: one or two sentences that a reader can make the samples again from.
        version: raised whenever the same sample and draws would give another.
        partners: whether it mixes two samples.
        floats: whether it changes columns of floating-point numbers alone; where there is none it
            is used only if the settings name it.
    """

    name: ClassVar[str]
    kind: ClassVar[Kind]
    definition: ClassVar[str]
    version: ClassVar[int] = 1
    partners: ClassVar[bool] = False
    floats: ClassVar[bool] = False

    @abstractmethod
    def make(self, making: Making) -> Any:
        """Returns inputs of the batch's form: each depends on its own sample and draws alone."""


_MODULES: Mapping[Modality, str] = MappingProxyType(
    {Modality.IMAGE: "images", Modality.TEXT: "texts", Modality.TABLE: "tables"}
)
"""The one place that tells modalities apart: each module has its generators and statistics. Of
another modality there are neither."""


@cache
def generators(modality: Modality) -> Mapping[str, Generator]:
    """Returns the generators of a modality by name, in the order of reports."""
    if modality not in _MODULES:
        return MappingProxyType({})
    made: tuple[Generator, ...] = tuple(entry() for entry in _module(modality).GENERATORS)
    return MappingProxyType({entry.name: entry for entry in made})


def statistics(modality: Modality) -> Callable[[Any], Mapping[str, Any]]:
    """Returns what measures inputs of a modality without any model: numbers by name."""
    if modality not in _MODULES:
        return lambda inputs: {}
    measure: Callable[[Any], Mapping[str, Any]] = _module(modality).statistics
    return measure


def _module(modality: Modality) -> Any:
    return import_module(f"{__name__}.{_MODULES[modality]}")


def every_name() -> tuple[str, ...]:
    """Returns the names of all generators of all modalities."""
    return tuple(dict.fromkeys(name for modality in _MODULES for name in generators(modality)))
