"""A digest of any Python value that covers all of its content, or says what it can't read.

Plain values, containers, arrays, tensors, functions (their code, defaults, closures and the globals
they read), classes (their bases and all they define), modules of torch, and instances of all of
these. The user's own code counts by what it does; a library's by its name, for its version is noted
elsewhere. Neither addresses nor the order of sets nor folders enter.
"""

from __future__ import annotations

import collections
import copyreg
import enum
import hashlib
import io
import logging
import os
import pathlib
import re
import socket
import struct
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crucibench.util.content import arrays, code
from crucibench.util.content.code import refuse_running
from crucibench.util.content.shallow import (
    Children,
    Shallow,
    attributes,
    is_library,
    leaf,
    shown_name,
)
from crucibench.util.content.shallow import OpaqueError as OpaqueError
from crucibench.util.native_readers import unwatched
from crucibench.util.private_packages import PREFIX
from crucibench.util.user_errors import one_line

_PRIVATE = re.compile(rf"{PREFIX}[0-9a-f]{{16}}\.?")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_NESTED = 8
_SIMPLE = (bool, int, type(None), type(...), type(NotImplemented))


@dataclass(frozen=True)
class Content:
    """What a value holds.

    Attributes:
        digest: of all of it.
        parts: a digest of what stands at each place, by its path.
        libraries: the names of the packages that something of it comes from.
    """

    digest: str
    parts: Mapping[str, str]
    libraries: frozenset[str]

    def changed(self, other: Content) -> str | None:
        """Returns the first path at which another content differs; None if they are equal."""
        for path, digest in self.parts.items():
            if other.parts.get(path) != digest:
                return path
        added = [path for path in other.parts if path not in self.parts]
        return None if self.digest == other.digest else (added or [""])[0]


def content_of(
    value: Any,
    *,
    folders: Iterable[Path] = (),
    known: Mapping[int, str] | None = None,
    stored: bool = False,
) -> Content:
    """Returns what `value` holds.

    Args:
        value: any.
        folders: what begins with one of them counts by the rest: a folder that moves is the same.
        known: names by `id` of values that are digested elsewhere, such as weights.
        stored: whether the digest of a file stands for those objects of libraries whose content
            can't be read.

    Raises:
        OpaqueError: naming the first thing in it whose content can't be read.
    """
    places = [folder.resolve() for folder in folders]
    written = {text for place in places for text in (str(place), place.as_posix())}
    roots = sorted(written, key=lambda text: (-len(text), text))
    walker = _Walker(tuple(roots), dict(known or {}), stored)
    try:
        walker.walk(value)
    except RecursionError:
        raise OpaqueError("nested too deeply") from None
    return Content(walker.total.hexdigest(), walker.parts, frozenset(walker.libraries))


def steady_content(read: Callable[[], Content], ask: Callable[[int], object]) -> Content:
    """Returns what a model holds, if asking it leaves that unchanged.

    Args:
        read: returns what it holds now.
        ask: has it answer its first question (0), or another (1).

    Raises:
        OpaqueError: if something in it can't be read, or changes with each question.
    """
    ask(0)  # what is made once, when it is first needed, is made by now
    content = read()
    ask(1)
    changed = read().changed(content)
    if changed is not None:
        raise OpaqueError("another after each question", changed)
    return content


@dataclass
class _Walker:
    roots: tuple[str, ...]
    known: dict[int, str]
    stored: bool
    depth: int = 0
    total: Any = field(default_factory=hashlib.sha256)
    parts: dict[str, str] = field(default_factory=dict)
    libraries: set[str] = field(default_factory=set)
    _places: dict[int, int] = field(default_factory=dict)
    _count: int = 0
    _alive: list[Any] = field(default_factory=list)  # an id is reused once its object is gone
    _waiting: deque[tuple[str, Shallow]] = field(default_factory=deque)

    def walk(self, value: Any) -> None:
        """Digests `value`, then what it refers to, then what that refers to, each once."""
        self._add(self.total, self._token(value, ""))
        while self._waiting:
            path, found = self._waiting.popleft()
            digest = hashlib.sha256()
            self._add(digest, found.kind.encode())
            self._add(digest, self._facts(found.facts, path))
            self._add(digest, found.data)
            below = found.path or path
            for label, child in found.children:
                token = self._token(child, below + label)
                self._add(digest, self._text(label))
                self._add(digest, token)
                if label.startswith("."):
                    self._note(below + label, token)
            for one in sorted(self._alone(child, path) for child in found.unordered):
                self._add(digest, one)
            self._add(self.total, digest.digest())
            self._note(path, digest.digest())

    def _note(self, path: str, content: bytes) -> None:
        place = path.lstrip(".")
        before = self.parts.get(place, "").encode()
        self.parts[place] = hashlib.sha256(before + content).hexdigest()

    def _token(self, value: Any, path: str) -> bytes:
        """Returns what stands for a value where it is referred to."""
        value = unwatched(value)
        plain = self._plain(value)
        if plain is not None:
            return plain
        if id(value) in self.known:
            return b"k" + self.known[id(value)].encode()
        if id(value) in self._places:
            return b"r%d" % self._places[id(value)]
        try:
            found = self._described(value)
        except OpaqueError as error:
            raise OpaqueError(error.what, error.path or path.lstrip(".")) from None
        except RecursionError:
            raise
        except Exception as error:
            what = f"what can't be read ({one_line(error)})"
            raise OpaqueError(what, path.lstrip(".")) from error
        if found.library and is_library(found.library):
            self.libraries.add(found.library.partition(".")[0])
        if not (found.shared or found.children):
            return b"l" + found.kind.encode() + b"\x1f" + self._facts(found.facts, path)
        place = self._count
        self._count += 1
        if found.shared:
            self._places[id(value)] = place
        self._alive.append(value)
        self._waiting.append((path, found))
        return b"o%d" % place

    def _described(self, value: Any) -> Shallow:
        for describe in (
            code.describe_named,
            arrays.describe,
            arrays.describe_module,
            code.describe,
        ):
            found = describe(value)
            if found is not None:
                return found
        return _instance(value, stored=self.stored)

    def _plain(self, value: Any) -> bytes | None:
        kind = type(value)
        if kind in _SIMPLE:
            return f"p{kind.__name__} {value!r}".encode()
        if kind is float:
            return b"f" + struct.pack(">d", value)
        if kind is complex:
            return b"c" + struct.pack(">dd", value.real, value.imag)
        if kind is str:
            return b"s" + self._text(value)
        return b"b" + value if kind is bytes else None

    def _alone(self, value: Any, path: str) -> bytes:
        """Returns a digest of one of several values without an order."""
        plain = self._plain(value)
        if plain is not None:
            return plain
        if self.depth == _NESTED:
            raise OpaqueError("a set within sets", path.lstrip("."))
        inner = _Walker(self.roots, self.known, self.stored, self.depth + 1)
        try:
            inner.walk(value)
        except OpaqueError as error:
            where = f"{path} (of a set) {error.path}".strip(" .")
            raise OpaqueError(error.what, where) from None
        self.libraries |= inner.libraries
        return bytes(inner.total.digest())

    def _facts(self, facts: str | bytes, path: str) -> bytes:
        if not isinstance(facts, str):
            return facts
        if _ADDRESS.search(facts):
            raise OpaqueError("known by its address alone", path.lstrip("."))
        return self._text(facts)

    def _text(self, text: str) -> bytes:
        """Returns a text without the places that it was loaded from."""
        text = _PRIVATE.sub("", text)
        for root in self.roots:
            if text == root or text.startswith((f"{root}/", f"{root}\\")):
                text = f"<folder>{text[len(root) :]}"
                break
        return text.encode("utf-8", "surrogatepass")

    @staticmethod
    def _add(digest: Any, token: bytes | memoryview) -> None:
        digest.update(b"%d:" % len(token))
        digest.update(token)


# Containers, and instances of classes: the user's, Python's and those of libraries.

_LOCKS = (type(threading.Lock()), type(threading.RLock()))
_HEAP_TYPE = 1 << 9
_LABEL = 40
_TREES = frozenset({"sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree"})
_OF_A_TREE = 13
_ASKED = slice(7, 11)
"""In the state of a tree of neighbours: how often it was asked, which changes no answer."""
_NOTHING: frozenset[str] = frozenset({"__dict__", "__weakref__"})


def _instance(value: Any, *, stored: bool = False) -> Shallow:
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
