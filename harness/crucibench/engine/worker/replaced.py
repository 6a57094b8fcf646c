"""Functions of libraries that a model's code has replaced, in a process that several models share.

Where each model has a process of its own, what its code does there reaches nobody else. In the
caller's process (live objects, ``--workers 0``) a replaced `torch.cdist` answers for every model
that comes later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, ValuesView
from dataclasses import dataclass
from itertools import chain
from operator import is_
from types import FunctionType, MethodType, ModuleType
from typing import Any

from crucibench.util.source_files import is_library_file

LIBRARIES = frozenset(
    {"json", "numpy", "os", "pandas", "pyarrow", "random", "scipy", "sklearn", "torch"}
)
"""Whose functions and classes are watched, in all their public modules."""

_OURS = frozenset({"crucibench", "crucibench_adapters", "crucibench_suites"})


class LibraryWatch:
    """The libraries' names as they were, and which have another function or class now.

    What a library does to itself does not count: modules that are loaded late, and functions that
    it wraps under their own names (as `torch._dynamo` does with `torch.manual_seed`).
    """

    def __init__(self) -> None:
        self._loaded: list[str] = []
        self._public: list[str] = []
        self._seen: dict[str, _Seen] = {}
        self._found: dict[str, None] = {}
        self._first = {
            where: dict(names)
            for name, module in self._modules() for where, names in _namespaces(name, module)
        }  # fmt: skip

    def replaced(self) -> tuple[str, ...]:
        """Returns the names of all that was replaced since this was made, in order."""
        for name, module in self._modules():
            seen = self._seen.get(name)
            if seen is None or not seen.is_now(module):
                self._look(name, module)
        return tuple(self._found)

    def _look(self, name: str, module: ModuleType) -> None:
        """Looks at every name of a module and its classes, for what is a user's by now."""
        views, values = list[ValuesView[Any]](), list[Any]()
        for where, names in _namespaces(name, module):
            now = dict(names)  # at once: another thread may be importing
            views.append(names.values())
            values += now.values()
            first = self._first.setdefault(where, now)
            if first is now:
                changed = [key for key, value in now.items() if _is_users(value)]
            else:
                changed = [
                    key for key, value in first.items()
                    if (new := now.get(key)) is not value and callable(value)
                    and not _is_own(new, key)
                ]  # fmt: skip
            self._found |= dict.fromkeys(f"{where}.{key}" for key in changed)
        self._seen[name] = _Seen(module, views, values)

    def _modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yields the public modules of the libraries."""
        loaded = list(sys.modules)
        if loaded != self._loaded:
            self._loaded, self._public = loaded, [name for name in loaded if _is_public(name)]
        for name in self._public:
            module = sys.modules.get(name)
            if type(module) is ModuleType:
                yield name, module


@dataclass(frozen=True)
class _Seen:
    """A module as it was looked at last.

    This is asked after every cell, about some ten thousand names that hardly ever change: so that
    all are as they were is found by identities alone.

    Attributes:
        module: it.
        views: the values of its names and of those of its classes, as they are now.
        values: as they were.
    """

    module: ModuleType
    views: list[ValuesView[Any]]
    values: list[Any]

    def is_now(self, module: ModuleType) -> bool:
        """Whether it is `module`, and no name has another value."""
        now = list(chain.from_iterable(self.views))
        return (
            module is self.module
            and len(now) == len(self.values)
            and all(map(is_, now, self.values))
        )


def _is_public(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in LIBRARIES and not any(part.startswith("_") for part in parts)


def _namespaces(name: str, module: ModuleType) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the names of a module, and of the classes made in it."""
    yield name, vars(module)
    for key, value in dict(vars(module)).items():
        if issubclass(type(value), type) and value.__dict__.get("__module__") == name:
            yield f"{name}.{key}", value.__dict__


def _is_own(value: Any, name: str) -> bool:
    """Whether a library may have put `value` in place of what was called `name`."""
    return not _is_users(value) and getattr(value, "__name__", None) == name


def _is_users(value: Any) -> bool:
    """Whether a function, class or callable object was made in a file that is no library's."""
    if not callable(value):
        return False
    # Only the type is looked at: objects of libraries answer for attributes that they lack.
    kind = type(value)
    if kind in {MethodType, classmethod, staticmethod}:
        value = value.__func__
        kind = type(value)
    if kind is FunctionType:
        file, module = value.__code__.co_filename, str(value.__globals__.get("__name__"))
    else:
        file, module = "<compiled>", str((value if issubclass(kind, type) else kind).__module__)
    if module.partition(".")[0] in _OURS:
        return False
    if file.startswith("<"):
        if module == "__main__":
            return True
        file = getattr(sys.modules.get(module), "__file__", None) or "<built in>"
    if file.startswith("<"):
        return False
    return not is_library_file(file)
