"""Containers, and instances of classes: the user's, Python's and those of libraries."""

from __future__ import annotations

import collections
import copyreg
import enum
import io
import logging
import os
import pathlib
import re
import socket
import threading
import types
import weakref
from typing import Any

from crucibench.util.content.code import refuse_running
from crucibench.util.content.shallow import (
    Children,
    OpaqueError,
    Shallow,
    attributes,
    is_library,
    leaf,
    shown_name,
)

_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_HEAP_TYPE = 1 << 9
_LABEL = 40
_TREES = frozenset({"sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree"})
_OF_A_TREE = 13
_ASKED = slice(7, 11)
"""In the state of a tree of neighbours: how often it was asked, which changes no answer."""
_NOTHING: frozenset[str] = frozenset({"__dict__", "__weakref__"})


def describe(value: Any, *, stored: bool = False) -> Shallow:
    """Describes any value that nothing more special describes.

    Args:
        value: any.
        stored: whether a digest of the file that a library's objects come from stands for those
            whose content can't be read.

    Raises:
        OpaqueError: if there is no saying what it holds.
    """
    special = _special(value)
    if special is not None:
        return special
    refuse_running(value)
    kind = type(value)
    base = _foundation(kind)
    if base in _CONTAINERS:
        return _container(value, base)
    try:
        return _object(value, base)
    except OpaqueError:
        if stored and is_library(kind.__module__):
            return leaf("stored", shown_name(kind), kind.__module__)
        raise


def _special(value: Any) -> Shallow | None:  # noqa: PLR0911 - one line for each kind
    match value:
        case enum.Enum():
            return Shallow("member", value.name, [("", type(value)), ("", value.value)])
        case pathlib.PurePath():
            return Shallow("path", children=[("", value.as_posix())], shared=False)
        case re.Pattern():
            return Shallow("pattern", str(value.flags), [("", value.pattern)], shared=False)
        case logging.Logger():
            return leaf("logger", value.name)
        case types.MappingProxyType():
            return Shallow("mapping", children=[("", dict(value))])
        case weakref.ReferenceType():
            return Shallow("reference", children=[("", value())])
        case io.IOBase():
            raise OpaqueError("an open file")
        case socket.socket():
            raise OpaqueError("a socket")
        case _ if isinstance(value, _LOCKS):
            return leaf("lock", "")
        case _ if value is os.environ:
            return leaf("environment", "")
    return None


def _mapping(value: Any) -> Children:
    children: list[tuple[str, Any]] = []
    for key, entry in dict.items(value):
        shown = repr(key)[:_LABEL] if type(key) in {str, int, bool, type(None)} else "..."
        children += [(" (key)", key), (f"[{shown}]", entry)]
    return children


def _items(value: Any, base: type) -> Children:
    return [(f"[{at}]", entry) for at, entry in enumerate(base.__iter__(value))]  # type: ignore[attr-defined]


_CONTAINERS: dict[type, str] = {
    base: base.__name__
    for base in (
        list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict,
        collections.defaultdict, int, float, complex, str, bytes, bytearray,
    )
}  # fmt: skip


def _container(value: Any, base: type) -> Shallow:
    """Describes a builtin container, or a value of a class that derives from a builtin."""
    own: list[tuple[str, Any]] = []
    if type(value) is not base:
        own = [("", type(value)), *_state(value)]
    if base in {set, frozenset}:
        return Shallow(base.__name__, children=own, unordered=list(base.__iter__(value)))
    if base is collections.defaultdict:
        own += [(" (default)", value.default_factory)]
    if base is collections.deque:
        own += [("", value.maxlen)]
    if issubclass(base, dict):
        own += _mapping(value)
    elif base in {list, tuple, collections.deque}:
        own += _items(value, base)
    elif base is bytearray:
        own += [("", bytes(value))]
    else:
        own += [("", base.__getnewargs__(value)[0])]  # type: ignore[attr-defined]
    return Shallow(base.__name__, children=own, shared=base is not tuple)


def _foundation(kind: type) -> type:
    """Returns the class of C below all classes of Python that `kind` derives from."""
    for base in kind.__mro__:
        new = vars(base).get("__new__")
        if base in _CONTAINERS or not base.__flags__ & _HEAP_TYPE:
            return base
        if isinstance(new, types.BuiltinMethodType) and new.__self__ is base:
            return base
    return object


def _state(value: Any) -> list[tuple[str, Any]]:
    """Returns the attributes of an instance, in its slots and beside them."""
    found: dict[str, Any] = dict(getattr(value, "__dict__", None) or {})
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            member = vars(base).get(_mangled(name, base))
            if name not in _NOTHING and isinstance(member, types.MemberDescriptorType):
                try:
                    found[f"{base.__name__}.{name}" if name in found else name] = member.__get__(
                        value, base
                    )
                except AttributeError:
                    continue
    return list(attributes(found))


def _mangled(name: str, base: type) -> str:
    if name.startswith("__") and not name.endswith("__"):
        return f"_{base.__name__.lstrip('_')}{name}"
    return name


def _object(value: Any, base: type) -> Shallow:
    kind = type(value)
    library = kind.__module__ if is_library(kind.__module__) else ""
    if base is object and not (library and _defines_its_state(kind)):
        return Shallow("object", children=[("", kind), *_state(value)], library=library)
    if issubclass(kind, BaseException):
        parts = [("", kind), ("", value.args), *_state(value)]
        return Shallow("exception", children=parts, library=library)
    # A class in C, or one that defines its own state: only a library's definition is trusted.
    if not _by_library(kind) or hasattr(kind, "__next__"):
        raise OpaqueError(_phrase(kind))
    try:
        reduced = value.__reduce_ex__(4)
    except Exception:
        raise OpaqueError(_phrase(kind)) from None
    if kind.__module__ in _TREES and len(reduced) > 2 and len(reduced[2]) == _OF_A_TREE:
        state = reduced[2]
        reduced = (*reduced[:2], (*state[: _ASKED.start], *state[_ASKED.stop :]))
    if isinstance(reduced, str):
        return leaf("global", f"{kind.__module__}.{reduced}", library)
    parts = [("", kind), *_reduced(reduced)]
    return Shallow("object", children=parts, library=library)


def _reduced(reduced: tuple[Any, ...]) -> Children:
    make, arguments, *rest = reduced
    state = rest[0] if rest else None
    listed = list(rest[1]) if len(rest) > 1 and rest[1] is not None else []
    mapped = [list(pair) for pair in rest[2]] if len(rest) > 2 and rest[2] is not None else []
    shown: Children = [("", state)]
    if type(state) is dict and all(type(key) is str for key in state):
        shown = attributes(state)
    return [("", make), ("", tuple(arguments)), *shown, ("", listed), ("", mapped)]


def _defines_its_state(kind: type) -> bool:
    return (
        any(
            getattr(kind, name, None) is not getattr(object, name, None)
            for name in ("__getstate__", "__reduce__", "__reduce_ex__")
        )
        or kind in copyreg.dispatch_table
    )


def _by_library(kind: type) -> bool:
    """Whether no code of the user's says what the state of an instance is."""
    for name in ("__getstate__", "__reduce__", "__reduce_ex__"):
        for base in kind.__mro__:
            if name in vars(base):
                if not is_library(base.__module__):
                    return False
                break
    return True


def _phrase(kind: type) -> str:
    if hasattr(kind, "__next__"):
        return "an iterator"
    name = shown_name(kind)
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
