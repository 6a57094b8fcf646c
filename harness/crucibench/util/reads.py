"""Watches which files code opens: what a factory reads beside the files that its address names."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crucibench.util.hashing import file_digest
from crucibench.util.native_readers import NativeReaders
from crucibench.util.outside import OURS
from crucibench.util.source_files import is_library_file

_ELSEWHERE = ("/proc/", "/sys/", "/dev/", "/usr/", "/etc/os-release")
_WRITES = os.O_WRONLY | os.O_RDWR
_watching: list[Reads] = []
_hooked: list[bool] = []


class Reads:
    """Notes which files any thread of this process opens for reading while this is entered.

    What is seen is what raises Python's audit event ``open`` (`open`, `Path.read_text`,
    `numpy.load`, `torch.load`), and what is given to the native readers of `native_readers`. Left
    out are libraries' own files, compiled ones, what is also written meanwhile, and temporary files
    outside of `base`.
    """

    def __init__(self, base: Path, *aside: Path) -> None:
        """Takes the folder that the user's paths are relative to, and files and folders that are
        left out.
        """
        self._names: dict[str, None] = {}
        self._written: set[str] = set()
        self._native = NativeReaders(lambda path: self.note(_whole(path), written=False))
        self._base = base.resolve()
        self._aside = {path.resolve() for path in (*aside, *OURS)}

    def __enter__(self) -> Self:
        if not _hooked:
            sys.addaudithook(_heard)  # for good: an audit hook can't be removed
            _hooked.append(True)
        _watching.append(self)
        self._native.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._native.__exit__()
        _watching.remove(self)

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


def _whole(name: str | bytes) -> str:
    return os.path.abspath(os.fsdecode(name))  # noqa: PTH100 - as it is, links and all


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _watching:
        return
    name, _, flags = arguments
    if isinstance(name, str | bytes):
        text = _whole(name)
        if not text.endswith((".pyc", ".so")):
            for one in _watching:
                one.note(text, written=isinstance(flags, int) and bool(flags & _WRITES))
