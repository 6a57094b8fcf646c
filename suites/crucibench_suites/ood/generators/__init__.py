"""Generators by name and modality: each makes an unfamiliar sample of a familiar one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from types import MappingProxyType

from crucibench.contracts.task import Modality
from crucibench_suites.ood.generator import Generator

_MODULES: Mapping[Modality, str] = MappingProxyType(
    {Modality.IMAGE: "images", Modality.TEXT: "texts", Modality.TABLE: "tables"}
)


@cache
def generators(modality: Modality) -> Mapping[str, Generator]:
    """Returns the generators of a modality by name, in the order of reports."""
    module = import_module(f"{__name__}.{_MODULES[modality]}")
    made: tuple[Generator, ...] = tuple(entry() for entry in module.GENERATORS)
    return MappingProxyType({entry.name: entry for entry in made})


def every_name() -> tuple[str, ...]:
    """Returns the names of all generators of all modalities."""
    return tuple(dict.fromkeys(name for modality in _MODULES for name in generators(modality)))
