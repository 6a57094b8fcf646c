"""Which files an import statement would run, found without importing, and whose files are whose."""

from __future__ import annotations

import importlib.machinery
import os
import sysconfig
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

EXTENSIONS = importlib.machinery.EXTENSION_SUFFIXES
"""How names of compiled modules end."""

_INSTALLED = frozenset({"site-packages", "dist-packages"})


@cache
def is_library_file(file: str) -> bool:
    """Whether a file lies where libraries do: Python's folders, and any that pip installs to."""
    path = Path(file).resolve()
    if _INSTALLED & set(path.parts):
        return True
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")}
    return any(path.is_relative_to(Path(folder).resolve()) for folder in folders)


def package_files(root: Path, parts: Sequence[str]) -> list[Path]:
    """Returns the files that ``import a.b.c`` runs: each package's ``__init__`` and the module."""
    files: list[Path] = []
    place = root
    for part in parts:
        place = place / part
        if (place / "__init__.py").is_file():
            files.append(place / "__init__.py")
        elif place.with_name(f"{part}.py").is_file():
            return [*files, place.with_name(f"{part}.py")]
        elif not place.is_dir():
            compiled = [place.with_name(f"{part}{end}") for end in EXTENSIONS]
            return [*files, *(file for file in compiled if file.is_file())]
    return files


def module_files(root: Path, stem: list[str], below: list[str]) -> list[Path]:
    """Returns the files that ``from stem import below`` runs; what is below may be modules."""
    names = [stem, *([*stem, name] for name in below)]
    return [file for parts in names for file in package_files(root, parts)]


def holds_code(folder: Path) -> bool:
    """Whether Python files lie in or below a folder."""
    return folder.is_dir() and any(folder.rglob("*.py"))


def portable_names(files: Iterable[str]) -> dict[str, str]:
    """Returns names of absolute paths that are the same on another machine, and differ.

    A file of a package is named from the outermost package on, another by its name alone; those of
    one name are named from the folder on that they have in common.
    """
    names = {file: _in_package(Path(file)) for file in files}
    count = Counter(names.values())
    for name in (name for name, times in count.items() if times > 1):
        alike = [file for file in names if names[file] == name]
        common = os.path.commonpath([Path(file).parent for file in alike])
        names |= {file: Path(file).relative_to(common).as_posix() for file in alike}
    return names


def _in_package(file: Path) -> str:
    root = file.parent
    while (root / "__init__.py").is_file() and root.parent != root:
        root = root.parent
    return file.relative_to(root).as_posix()
