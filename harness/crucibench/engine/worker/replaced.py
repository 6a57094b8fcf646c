"""Functions of libraries that a model's code has replaced, in a process that several models share.

Where each model has a process of its own, what its code does there reaches nobody else. In the
caller's process (live objects, ``--workers 0``) a replaced `torch.cdist` answers for every model
that comes later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
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
        self._known: dict[str, _Namespace] = {}
        self._loaded: list[str] = []
        self._public: list[str] = []
        self._found: dict[str, None] = {}
        for name, module in self._modules():
            for where, names in _namespaces(name, module):
                self._known[where] = _Namespace(names)

    def replaced(self) -> tuple[str, ...]:
        """Returns the names of all that was replaced since this was made, in order."""
        for name, module in self._modules():
            known = self._known.get(name)
            if known is not None and known.is_as_seen(vars(module)):
                spaces: Iterable[tuple[str, Mapping[str, Any]]] = known.classes(name)
            else:
                spaces = _namespaces(name, module)
            for where, now in spaces:
                space = self._known.get(where)
                if space is None:
                    self._known[where] = _Namespace(now)
                    changed = [key for key, value in dict(now).items() if _is_users(value)]
                else:
                    changed = space.changed(now)
                self._found |= dict.fromkeys(f"{where}.{key}" for key in changed)
        return tuple(self._found)

    def _modules(self) -> Iterator[tuple[str, ModuleType]]:
        """Yields the public modules of the libraries."""
        loaded = list(sys.modules)
        if loaded != self._loaded:
            self._loaded, self._public = loaded, [name for name in loaded if _is_public(name)]
        for name in self._public:
            module = sys.modules.get(name)
            if type(module) is ModuleType:
                yield name, module


class _Namespace:
    """The names of a module or class as they were, and as they were seen last.

    This is asked after every shard, about some ten thousand names that hardly ever change: so what
    is as it was seen last is found by identities alone.
    """

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._first = dict(names)
        self._seen = tuple(self._first.values())
        self._classes: list[tuple[str, Any]] | None = None

    def is_as_seen(self, names: Mapping[str, Any]) -> bool:
        """Whether no name has another value than when it was looked at last."""
        now = tuple(names.values())  # at once: another thread may be importing
        return len(now) == len(self._seen) and all(map(is_, now, self._seen))

    def changed(self, names: Mapping[str, Any]) -> list[str]:
        """Returns which functions and classes of the beginning are a user's by now."""
        if self.is_as_seen(names):
            return []
        now = dict(names)
        self._seen, self._classes = tuple(now.values()), None
        return [
            key for key, value in self._first.items()
            if (new := now.get(key)) is not value and callable(value) and not _is_own(new, key)
        ]  # fmt: skip

    def classes(self, module: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yields the names of the classes made in a module that is as it was seen last."""
        if self._classes is None:
            self._classes = list(_classes(module, vars(sys.modules[module])))
        for where, made in self._classes:
            yield where, made.__dict__


def _is_public(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in LIBRARIES and not any(part.startswith("_") for part in parts)


def _namespaces(name: str, module: ModuleType) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the names of a module, and of the classes made in it."""
    names = dict(vars(module))
    yield name, names
    for where, made in _classes(name, names):
        yield where, made.__dict__


def _classes(module: str, names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in names.items():
        if issubclass(type(value), type) and value.__dict__.get("__module__") == module:
            yield f"{module}.{key}", value


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
