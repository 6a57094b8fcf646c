"""A user's folder as a private package, so that two folders never share a module.

Its modules look for their imports in that folder first, as a script's do. The private name is a
digest of the folder and of the contents of the files in use: an edited file is loaded anew, and
neither `sys.path` nor a ``__pycache__`` beside the user's files is touched. What is imported by a
string (``importlib.import_module("utils")``) is not looked for in the folder.
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from crucibench.util.hashing import data_digest
from crucibench.util.source_files import EXTENSIONS, holds_code, package_files

PREFIX = "_crucibench_user_"
"""How the names of private packages begin."""


@dataclass(frozen=True)
class _Folder:
    """A user's folder as a private package.

    Attributes:
        package: its name in `sys.modules`.
        root: the folder.
        places: packages below `root` in which absolute imports are looked for first.
        main: the module that was asked for, and its file: a folder of that name does not hide it.
    """

    package: str
    root: Path
    places: tuple[str, ...]
    main: Mapping[str, Path]

    @cached_property
    def builtins(self) -> dict[str, Any]:
        """Builtins whose import statement looks into the folder first."""
        return {**vars(builtins), "__import__": self._import}

    @cached_property
    def _prefixes(self) -> dict[str, str | None]:
        return {}

    def prefix(self, head: str) -> str | None:
        """Returns the private package in which a script would find `head`, or None."""
        if head not in self._prefixes:
            self._prefixes[head] = self._find_prefix(head)
        return self._prefixes[head]

    def find(
        self, fullname: str, path: Sequence[str] | None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds the package itself, or a module of it."""
        locate = importlib.util.spec_from_file_location
        if fullname == self.package:
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(self.root)]
            return spec
        file = self.main.get(fullname)
        if file is not None and file.suffix == ".py":
            packaged = [str(file.parent)] if file.name == "__init__.py" else None
            loader = _Loader(fullname, str(file), self.builtins)
            return locate(fullname, file, loader=loader, submodule_search_locations=packaged)
        for entry in path or ():
            spec_or_none = self._finder(entry).find_spec(fullname)
            if spec_or_none is not None:
                return spec_or_none
        return None

    def _finder(self, entry: str) -> importlib.machinery.FileFinder:
        # A new one each time, because a finder caches the folder's listing by its time stamp.
        def load_source(fullname: str, path: str) -> _Loader:
            return _Loader(fullname, path, self.builtins)

        source = cast("type[importlib.abc.Loader]", load_source)
        return importlib.machinery.FileFinder(
            entry,
            (importlib.machinery.ExtensionFileLoader, EXTENSIONS),
            (source, importlib.machinery.SOURCE_SUFFIXES),
        )

    def _find_prefix(self, head: str) -> str | None:
        first = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
        if any(finder.find_spec(head) for finder in first):
            return None
        folders = {place: self.root.joinpath(*place.split(".")) for place in self.places}
        found = [place for place, folder in folders.items() if package_files(folder, [head])]
        if not found and importlib.machinery.PathFinder.find_spec(head) is None:
            # A folder without __init__.py yields to an installed module of its name.
            found = [place for place, folder in folders.items() if holds_code(folder / head)]
        return ".".join(filter(None, (self.package, found[0]))) if found else None

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - the names of builtins.__import__
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        head = name.partition(".")[0]
        prefix = None if level else self.prefix(head)
        if prefix is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{prefix}.{name}", globals, locals, fromlist or (), 0)
        return found if fromlist else sys.modules[f"{prefix}.{head}"]


class _Loader(importlib.machinery.SourceFileLoader):
    """Runs a user's file with its folder's builtins, from its source: no bytecode is kept."""

    def __init__(self, fullname: str, path: str, own_builtins: dict[str, Any]) -> None:
        super().__init__(fullname, path)
        self._builtins = own_builtins

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        # Functions take their builtins from here when they are made, so that an import that runs
        # later, inside a function, finds the folder too.
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of users' folders, and nothing else."""

    def __init__(self) -> None:
        self.folders: dict[str, _Folder] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        folder = self.folders.get(fullname.partition(".")[0])
        return folder.find(fullname, path) if folder else None


_FINDER = _Finder()


def private_package(
    root: Path, places: tuple[str, ...], module: str, file: Path | None, content: str
) -> str:
    """Makes a folder importable under a name of its own.

    Args:
        root: the folder.
        places: packages below it in which absolute imports are looked for first.
        module: the dotted name of the module that was asked for.
        file: its source.
        content: a digest of the files in use: an edited file gives another package.

    Returns:
        The package's name in `sys.modules`.
    """
    package = f"{PREFIX}{data_digest([str(root), module, content])[:16]}"
    if package not in _FINDER.folders:
        main = {f"{package}.{module}": file} if file else {}
        _FINDER.folders[package] = _Folder(package, root, places, main)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    return package


def plain(text: str) -> str:
    """Returns `text` with the user's own names in place of the private ones."""
    for package, folder in _FINDER.folders.items():
        text = text.replace(f"{package}.", "").replace(package, folder.root.name)
    return text
