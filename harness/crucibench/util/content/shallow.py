"""What one value holds itself, and which values it refers to."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from crucibench.util.private_packages import PREFIX
from crucibench.util.source_files import is_library_file

_OURS = frozenset({"crucibench", "crucibench_adapters", "crucibench_suites", "builtins"})

Children = Sequence[tuple[str, Any]]
"""Labels and values; a path is what labels make when they are put together."""


class OpaqueError(Exception):
    """A value whose content can't be read.

    Attributes:
        what: the value is, e.g. "a generator".
        path: from the outermost value to it, "" for that value itself.
    """

    def __init__(self, what: str, path: str = "") -> None:
        super().__init__(what, path)
        self.what = what
        self.path = path

    def __str__(self) -> str:
        return f"{self.path}: {self.what}" if self.path else self.what

    @property
    def sentence(self) -> str:
        """Where and what, to go after a colon."""
        if not self.path:
            return f"it is {self.what}"
        return f"{'' if '(' in self.path else 'attribute '}{self.path} is {self.what}"


@dataclass(frozen=True)
class Shallow:
    """One value.

    Attributes:
        kind: of value.
        facts: its own content, as text or bytes.
        data: more of it, where that is large.
        children: the values that it refers to, in an order that their content decides.
        unordered: children without an order, whose labels don't count.
        shared: whether it counts if two places refer to the same one, or to two alike.
        path: what messages call it, "" for the way that led to it.
        library: the module that it comes from, where that is a library's.
    """

    kind: str
    facts: str | bytes = b""
    children: Children = ()
    data: bytes | memoryview = b""
    unordered: Sequence[Any] = ()
    shared: bool = True
    path: str = ""
    library: str = ""


def leaf(kind: str, facts: str | bytes, library: str = "") -> Shallow:
    """Returns the description of a value of which `facts` is all."""
    return Shallow(kind, facts, shared=False, library=library)


def attributes(found: dict[str, Any], *, skip: frozenset[str] = frozenset()) -> Children:
    """Returns the entries of a namespace, sorted."""
    return [(f".{name}", found[name]) for name in sorted(found) if name not in skip]


def shown_name(value: Any) -> str:
    """Returns the public name of a class or function."""
    module, name = module_of(value), getattr(value, "__qualname__", type(value).__qualname__)
    return f"{module}.{name}" if module not in {"", "builtins"} else str(name)


def module_of(value: Any) -> str:
    """Returns the name of the module of a class or function, without a private package."""
    name = getattr(value, "__module__", None)
    name = name if isinstance(name, str) else ""
    head, _, tail = name.partition(".")
    return tail if head.startswith(PREFIX) else name


def is_library(name: Any) -> bool:
    """Whether a module is Python's, an installed one or ours: its version stands for its code."""
    if not isinstance(name, str) or not name or name == "__main__":
        return False
    head = name.partition(".")[0]
    if head.startswith(PREFIX):
        return False
    if head in _OURS or head in sys.builtin_module_names:
        return True
    found = sys.modules.get(name) or sys.modules.get(head)
    return isinstance(found, ModuleType) and is_library_module(found)


def is_library_module(module: ModuleType) -> bool:
    """Whether a module lies where libraries do."""
    file = vars(module).get("__file__")
    # Some modules have no file, as torch.ops; `os.path` since this is called very often.
    if not isinstance(file, str) or not os.path.isabs(file):  # noqa: PTH117
        origin = getattr(vars(module).get("__spec__"), "origin", None)
        head = sys.modules.get(module.__name__.partition(".")[0])
        if origin in {"built-in", "frozen"} or module.__name__ in sys.builtin_module_names:
            return True
        return head is not None and head is not module and is_library_module(head)
    head_name = module.__name__.partition(".")[0]
    return head_name in _OURS or (not head_name.startswith(PREFIX) and is_library_file(file))


def resolves(value: Any, module: str, qualname: str) -> bool:
    """Whether a library's class or function is what its name says, and no other made later."""
    if "<" in qualname:
        return False
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found is value or getattr(found, "__func__", None) is value
