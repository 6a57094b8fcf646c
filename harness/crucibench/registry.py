"""Adapters, suites and data sources by name: found by entry points, loaded when used.

A third party adds one with one line in its own package::

    [project.entry-points."crucibench.adapters"]
    myformat = "my_package.adapter:MyAdapter"
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.source import DataSource
from crucibench.contracts.suite import Suite
from crucibench.util.errors import InputError
from crucibench.util.registry import Registry

T = TypeVar("T")


@cache
def adapters() -> Registry[type[Adapter]]:
    """Returns the registry of adapters, by URI scheme."""
    return Registry("crucibench.adapters", "model scheme", Adapter)


@cache
def suites() -> Registry[type[Suite]]:
    """Returns the registry of suites."""
    return Registry("crucibench.suites", "suite", Suite)


@cache
def sources() -> Registry[type[DataSource]]:
    """Returns the registry of data sources, by URI scheme."""
    return Registry("crucibench.data", "data scheme", DataSource)


def accepting_adapter(model: object, name: str) -> type[Adapter]:
    """Returns the adapter that takes a live object.

    Raises:
        InputError: if none does.
    """
    if isinstance(model, Adapter):
        return type(model)
    return _accepting(adapters(), model, f"model {name!r}")


def accepting_source(data: object, name: str) -> type[DataSource]:
    """Returns the data source that takes a live object.

    Raises:
        InputError: if none does.
    """
    return _accepting(sources(), data, f"data {name!r}")


def _accepting(registry: Registry[T], value: object, what: str) -> T:
    for entry in registry.entries():
        try:
            candidate = registry.get(entry.name)
        except InputError:
            continue  # a broken plug-in must not stop a live object that another one takes
        accepts = getattr(candidate, "accepts", None)
        if accepts is not None and accepts(value):
            return candidate
    raise InputError(f"{what}: no installed adapter or source takes a {type(value).__name__}")
