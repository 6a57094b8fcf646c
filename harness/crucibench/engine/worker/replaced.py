"""Functions of libraries that a model's code has replaced, in a process that several models share.

Where each model has a process of its own, what its code does there reaches nobody else. In the
caller's process (live objects, ``--workers 0``) a replaced `torch.cdist` answers for every model
that comes later.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
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
        self._known = {name: dict(found) for name, found in _namespaces()}
        self._found: dict[str, None] = {}

    def replaced(self) -> tuple[str, ...]:
        """Returns the names of all that was replaced since this was made, in order."""
        for where, now in _namespaces():
            before = self._known.get(where)
            if before is None:
                before = self._known[where] = dict(now)
                changed = [name for name in before if _is_users(before[name])]
            else:
                changed = [
                    name for name, value in before.items()
                    if (new := now.get(name)) is not value
                    and callable(value) and not _is_own(new, name)
                ]  # fmt: skip
            self._found |= dict.fromkeys(f"{where}.{name}" for name in changed)
        return tuple(self._found)


def _namespaces() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the names of every public module of the libraries, and of the classes made in it."""
    for name, module in list(sys.modules.items()):
        parts = name.split(".")
        public = parts[0] in LIBRARIES and not any(part.startswith("_") for part in parts)
        if not public or type(module) is not ModuleType:
            continue
        names = dict(vars(module))
        yield name, names
        for key, value in names.items():
            if issubclass(type(value), type) and value.__dict__.get("__module__") == name:
                yield f"{name}.{key}", value.__dict__


def _is_own(value: Any, name: str) -> bool:
    """Whether a library may have put `value` in place of what was called `name`."""
    return not _is_users(value) and getattr(value, "__name__", None) == name


def _is_users(value: Any) -> bool:
    """Whether a function, class or callable object was made in a file that is no library's."""
    if not callable(value):
        return False
    # Of the type alone: objects of libraries answer for attributes that they don't have.
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
