"""Adapters, suites and data sources by name: found by entry points, loaded when used.

A third party adds one with one line in its own package::

    [project.entry-points."crucibench.adapters"]
    myformat = "my_package.adapter:MyAdapter"

Listing imports no plug-in, so that a broken one breaks nothing but its own use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.source import DataSource
from crucibench.contracts.suite import Suite
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes:
        name: as users type it.
        target: ``module:attribute``.
        package: the distribution that registers it.
        version: of that distribution.
    """

    name: str
    target: str
    package: str
    version: str


class Registry(Generic[T]):
    """The entry points of one group, typed and lazy."""

    def __init__(self, group: str, what: str, base: type[T]) -> None:
        self.group = group
        self.what = what
        self.base = base
        self._points: dict[str, list[EntryPoint]] = {}
        self._loaded: dict[str, type[T]] = {}
        for point in entry_points(group=group):
            known = self._points.setdefault(point.name, [])
            if all(point.value != other.value for other in known):
                known.append(point)

    def entries(self) -> list[Entry]:
        """Returns what is registered, by name, importing none of it."""
        return [
            Entry(name, point.value, *_distribution(point))
            for name, points in sorted(self._points.items())
            for point in points
        ]

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        return sorted(self._points)

    def get(self, name: str) -> type[T]:
        """Loads what is registered under `name`.

        Raises:
            InputError: if nothing is, or two packages claim it, or it can't be imported (the
                sentence names the package and the cause), or is no subclass of the base.
        """
        if name in self._loaded:
            return self._loaded[name]
        points = self._points.get(name)
        if not points:
            raise InputError(unknown(self.what, name, self._points))
        if len(points) > 1:
            packages = " and ".join(_distribution(point)[0] for point in points)
            raise InputError(f"{self.what} {name!r} is registered by {packages}; uninstall one")
        self._loaded[name] = self._load(points[0])
        return self._loaded[name]

    def _load(self, point: EntryPoint) -> type[T]:
        package = _distribution(point)[0]
        try:
            loaded = point.load()
        except Exception as error:
            raise InputError(
                f"{self.what} {point.name!r} of package {package} can't be loaded from "
                f"{point.value}: {type(error).__name__}: {error}"
            ) from error
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            raise InputError(
                f"{self.what} {point.name!r} of package {package}: expected {point.value} to be "
                f"a subclass of {self.base.__name__}, got {loaded!r}"
            )
        return loaded


@cache
def adapters() -> Registry[Adapter]:
    """Returns the registry of adapters, by URI scheme."""
    return Registry("crucibench.adapters", "model scheme", Adapter)  # type: ignore[type-abstract]


@cache
def suites() -> Registry[Suite]:
    """Returns the registry of suites."""
    return Registry("crucibench.suites", "suite", Suite)  # type: ignore[type-abstract]


@cache
def sources() -> Registry[DataSource]:
    """Returns the registry of data sources, by URI scheme."""
    return Registry("crucibench.data", "data scheme", DataSource)  # type: ignore[type-abstract]


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


def _accepting(registry: Registry[T], value: object, what: str) -> type[T]:
    for entry in registry.entries():
        try:
            candidate = registry.get(entry.name)
        except InputError:
            continue  # a broken plug-in must not stop a live object that another one takes
        accepts = getattr(candidate, "accepts", None)
        if accepts is not None and accepts(value):
            return candidate
    raise InputError(f"{what}: no installed adapter or source takes a {type(value).__name__}")


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else ("unknown", "")
