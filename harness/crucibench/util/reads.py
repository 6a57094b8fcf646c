"""Watches which files code opens: what a factory reads beside the files that its address names."""

from __future__ import annotations

import builtins
import contextlib
import importlib.util
import linecache
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, Self

from crucibench.util.hashing import file_digest
from crucibench.util.native_readers import NativeReaders
from crucibench.util.outside import OURS
from crucibench.util.source_files import is_library_file

_ELSEWHERE = ("/proc/", "/sys/", "/dev/", "/usr/", "/etc/os-release")
_WRITES = os.O_WRONLY | os.O_RDWR
_watching: list[Reads] = []
_hooked: list[bool] = []
_of_modules: dict[tuple[str, str], dict[tuple[str, bool], None]] = {}
"""By name and file of a module of the user's, what was opened while it was imported, and whether it
was written: a second model that uses the module depends on it too, though nothing is opened again.
"""
_plain_import = builtins.__import__
_bootstrap: Any = sys.modules["_frozen_importlib"]
# What `importlib.import_module` calls. That one stays: user code may hold it as a global, and
# the fingerprint looks at it.
_plain_import_module = _bootstrap._gcd_import


class Reads:
    """Notes which files any thread of this process opens for reading while this is entered.

    What is seen is what raises Python's audit event ``open`` (`open`, `Path.read_text`,
    `numpy.load`, `torch.load`) or ``sqlite3.connect``, what is given to the native readers of
    `native_readers`, and the sources of the user's modules that are imported, from bytecode or in
    memory as they may be, with all that was read when they were imported first. Left
    out are libraries' own files, what is also written meanwhile, and temporary files outside of
    `base`.
    """

    def __init__(self, base: Path, *aside: Path) -> None:
        """Takes the folder that the user's paths are relative to, and files and folders that are
        left out.
        """
        self._names: dict[str, None] = {}
        self._written: set[str] = set()
        self._native = NativeReaders(lambda path: _note(_whole(path), written=False))
        self._base = base.resolve()
        self._aside = {path.resolve() for path in (*aside, *OURS)}

    def __enter__(self) -> Self:
        if not _hooked:
            sys.addaudithook(_heard)  # for good: an audit hook can't be removed
            _hooked.append(True)
        if not _watching:
            builtins.__import__ = _import
            _bootstrap._gcd_import = _import_module
        _watching.append(self)
        self._native.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._native.__exit__()
        _watching.remove(self)
        if not _watching:
            builtins.__import__ = _plain_import
            _bootstrap._gcd_import = _plain_import_module

    def note(self, name: str, *, written: bool) -> None:
        """Takes a file that is being opened."""
        if written:
            self._written.add(name)
        else:
            self._names[name] = None

    def digests(self) -> dict[str, str]:
        """Returns the SHA-256 of each file by its absolute path, links followed; sorted."""
        found: dict[str, str] = {}
        for name in self._names:
            path = Path(name)
            try:
                if name not in self._written and path.is_file() and self._counts(path.resolve()):
                    found[str(path.resolve())] = file_digest(path)
            except OSError:
                continue  # it went again: nobody can read it a second time
        return dict(sorted(found.items()))

    def _counts(self, path: Path) -> bool:
        if str(path).startswith(_ELSEWHERE) or is_library_file(str(path)):
            return False
        if not self._aside.isdisjoint((path, *path.parents)):
            return False
        temporary = path.is_relative_to(Path(tempfile.gettempdir()).resolve())
        return not temporary or path.is_relative_to(self._base)


def _whole(name: str | bytes | os.PathLike[str]) -> str:
    return os.path.abspath(os.fsdecode(name))  # noqa: PTH100 - as it is, links and all


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in {"open", "sqlite3.connect"} or not _watching or _shows_source():
        return
    name, flags = arguments[0], arguments[-1]
    if isinstance(name, str | bytes | os.PathLike):
        text = _whole(name)
        if text.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # bytecode without a source is read for itself
                text = importlib.util.source_from_cache(text)
        _note(text, written=isinstance(flags, int) and bool(flags & _WRITES))


def _shows_source() -> bool:
    """Returns whether a library looks up lines of source, as of a warning or of a frame.

    It does so once in a process and of whoever happens to call: no answer depends on it, and the
    source of what is imported is noted by itself.
    """
    frame: FrameType | None = sys._getframe(2)
    for _ in range(3):  # `tokenize.open` lies between
        if frame is None:
            return False
        if frame.f_code.co_filename == linecache.__file__:
            return True
        frame = frame.f_back
    return False


def _note(text: str, *, written: bool) -> None:
    for watch in _watching:
        watch.note(text, written=written)
    for module in _being_imported():
        _of_modules.setdefault(module, {})[text, written] = None


def _being_imported() -> Iterator[tuple[str, str]]:
    """Yields the user's modules whose own lines led here."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "<module>" and not is_library_file(code.co_filename):
            yield str(frame.f_globals.get("__name__")), code.co_filename
        frame = frame.f_back


def _import(
    name: str,
    globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of builtins.__import__
    locals: Mapping[str, Any] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    found = _plain_import(name, globals, locals, fromlist or (), level)
    if _watching:
        package = str((globals or {}).get("__package__") or "")
        whole = importlib.util.resolve_name("." * level + name, package) if level else name
        _used(whole)
        for below in fromlist or ():
            _used(f"{whole}.{below}")
    return found


def _import_module(name: str, package: str | None = None, level: int = 0) -> ModuleType:
    found: ModuleType = _plain_import_module(name, package, level)
    if _watching:
        _used(importlib.util.resolve_name("." * level + name, package))
    return found


def _used(name: str) -> None:
    """Notes the files of a module and of the packages that hold it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = sys.modules.get(".".join(parts[:end]))
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(file, str) and not is_library_file(file):
            known = _of_modules.get((".".join(parts[:end]), file), {})
            for text, written in ((_whole(file), False), *known):
                _note(text, written=written)
