"""Open sets of names: those of the project, and those that other packages add."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Self

from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown


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
