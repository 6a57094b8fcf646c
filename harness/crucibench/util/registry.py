"""Registries: what packages offer by entry points, found by name and loaded when used.

Listing imports no plug-in, so that a broken one breaks nothing but its own use.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any, ClassVar, Generic, Self, TypeVar

from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

T = TypeVar("T")


@dataclass(frozen=True)
class Registered:
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
    """The entry points of one group, typed and lazy; each is a class."""

    def __init__(self, group: str, what: str, base: type[Any]) -> None:
        self.group = group
        self.what = what
        self.base = base
        self._points: dict[str, list[EntryPoint]] = {}
        self._loaded: dict[str, T] = {}
        for point in _installed(tuple(sys.path)).select(group=group):
            known = self._points.setdefault(point.name, [])
            if all(point.value != other.value for other in known):
                known.append(point)

    def entries(self) -> list[Registered]:
        """Returns what is registered, by name, importing none of it."""
        return [
            Registered(name, point.value, *_distribution(point))
            for name, points in sorted(self._points.items())
            for point in points
        ]

    def names(self) -> list[str]:
        """Returns the registered names, sorted."""
        return sorted(self._points)

    def get(self, name: str) -> T:
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
        self._loaded[name] = self._accept(points[0], self._load(points[0]))
        return self._loaded[name]

    def _load(self, point: EntryPoint) -> object:
        try:
            return point.load()
        except Exception as error:
            raise InputError(
                f"{self.what} {point.name!r} of package {_distribution(point)[0]} can't be loaded "
                f"from {point.value}: {type(error).__name__}: {error}"
            ) from error

    def _accept(self, point: EntryPoint, loaded: object) -> T:
        if not (isinstance(loaded, type) and issubclass(loaded, self.base)):
            raise self._refused(point, "a subclass", loaded)
        return loaded  # type: ignore[return-value]

    def _refused(self, point: EntryPoint, what: str, loaded: object) -> InputError:
        return InputError(
            f"{self.what} {point.name!r} of package {_distribution(point)[0]}: expected "
            f"{point.value} to be {what} of {self.base.__name__}, got {loaded!r}"
        )


class Catalogue(Registry[T]):
    """The entry points of one group, each an instance, or a class that is made without arguments.

    An entry's attribute ``name`` is the name under which it is registered.
    """

    def _accept(self, point: EntryPoint, loaded: object) -> T:
        entry: Any = loaded() if isinstance(loaded, type) else loaded
        if not isinstance(entry, self.base):
            raise self._refused(point, "an instance", loaded)
        name = getattr(entry, "name", point.name)
        if name != point.name:
            raise InputError(
                f"{self.what} {point.name!r} of package {_distribution(point)[0]}: "
                f"{point.value} calls itself {name!r}"
            )
        accepted: T = entry
        return accepted


def loaded(found: Any) -> Any:
    """Returns what ``MODULE:NAME`` stands for; anything else is itself."""
    if not isinstance(found, str):
        return found
    module, _, name = found.partition(":")
    return getattr(import_module(module), name)


@cache  # each is a file of some hundred
def _installed(path: tuple[str, ...]) -> Any:
    return entry_points()


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return _name_and_version(point.dist) if point.dist else ("unknown", "")


@cache  # each reads and parses a file, and a distribution has many entry points
def _name_and_version(distribution: Distribution) -> tuple[str, str]:
    return distribution.name, distribution.version


# Open sets of names: those of the project, and those that other packages add.


class OpenName(str):
    """A name of an open set: there is one object of each, so that ``is`` compares them.

    Attributes:
        what: what messages call one of the set.
    """

    __slots__ = ()

    what: ClassVar[str]
    _known: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        cls._known = {}

    def __new__(cls, name: str) -> Self:
        """Returns the name.

        Raises:
            InputError: if nothing declares it; the sentence names the nearest.
        """
        if name not in cls._known:
            added = set(cls.added())
            if name not in added:
                raise InputError(unknown(cls.what, name, {*cls._known, *added}))
            cls.declare(name)
        found: Self = cls._known[name]
        return found

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        """A document holds it as text; what the text may be is known when a name is made of it."""
        from pydantic_core import core_schema

        return core_schema.str_schema()

    @classmethod
    def declare(cls, name: str) -> Self:
        """Adds a name to the set, once; returns it."""
        if name not in cls._known:
            cls._known[name] = str.__new__(cls, name)
        found: Self = cls._known[name]
        return found

    @classmethod
    def added(cls) -> Iterable[str]:
        """Returns the names that other packages registered, whether declared already or not."""
        return ()
