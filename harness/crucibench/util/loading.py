"""User code named by ``FILE.py:NAME`` or ``PKG.MOD:NAME``: found, read, loaded and called.

A user's folder becomes a private package whose modules look for their imports in that folder
first, as a script's do; of a file inside a package, also in the folder that holds the package. The
private name is a digest of the folder and of the contents of the files in use: two folders never
share a module, an edited file is loaded anew, and neither `sys.path` nor a ``__pycache__`` beside
the user's files is touched. What is imported by a string (``importlib.import_module("utils")``) is
not looked for in the folder.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import random
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, cast

from crucibench.util.errors import CrucibenchError, InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.suggest import nearest, unknown

_PREFIX = "_crucibench_user_"
_LIBRARIES = frozenset(
    Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")
)
_CORE = Path(__file__).resolve().parents[1]
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class FactoryRef:
    """A named function of the user's, found but not loaded.

    Attributes:
        text: as it was written.
        name: of the function or class.
        module: the dotted name of its module below `root`.
        file: the module's source, or None where it has none (a compiled module).
        root: the folder that holds the module, or the outermost package that the module is in.
        places: packages below `root` in which absolute imports are looked for first, in order; ""
            is `root` itself.
        installed: whether it is an installed module, loaded as Python loads it.
    """

    text: str
    name: str
    module: str
    file: Path | None
    root: Path
    places: tuple[str, ...] = ("",)
    installed: bool = False

    def __str__(self) -> str:
        return self.text

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The module's file and the project files that it imports, directly or not, sorted.

        Project files are those below `root`; of a package that is installed in place, its own. Of
        a package in the library folders there is the one file, and its version in `facts`.
        """
        if self.file is None:
            return ()
        if self._is_library:
            return (self.file,)
        found: set[Path] = set()
        queue = [self.file, *_package_files(self.root, self.module.split(".")[:-1])]
        while queue:
            file = queue.pop()
            if file not in found:
                found.add(file)
                queue += self._imported_by(file)
        return tuple(sorted(found))

    @cached_property
    def facts(self) -> dict[str, str]:
        """The versions of the distributions that hold the module, where it is a library's."""
        if not self._is_library:
            return {}
        holders = packages_distributions().get(self.module.partition(".")[0], [])
        return {name: version(name) for name in sorted(set(holders))}

    def digest(self) -> str:
        """Returns a digest of the names, relative to `root`, and contents of `files`, and facts."""
        contents = {
            file.relative_to(self.root).as_posix(): file_digest(file) for file in self.files
        }
        return data_digest([contents, self.facts])

    @property
    def _is_library(self) -> bool:
        return self.installed and self.root in _LIBRARIES

    def _imported_by(self, file: Path) -> list[Path]:
        if file.suffix != ".py":
            return []
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return []  # loading reports it
        here = list(file.parent.relative_to(self.root).parts)
        files: list[Path] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    files += self._absolute(alias.name.split("."), [])
            elif isinstance(node, ast.ImportFrom):
                stem = node.module.split(".") if node.module else []
                below = [alias.name for alias in node.names]
                if node.level == 0:
                    files += self._absolute(stem, below)
                elif node.level <= len(here) + 1:
                    stem = here[: len(here) + 1 - node.level] + stem
                    files += _module_files(self.root, stem, below)
        return files

    def _absolute(self, stem: list[str], below: list[str]) -> list[Path]:
        if self.installed and stem[0] != self.module.partition(".")[0]:
            return []
        for place in self.places:
            prefix = place.split(".") if place else []
            files = _module_files(self.root, prefix + stem, below)
            if set(files) - set(_package_files(self.root, prefix)):
                return files
        return []


def parse_factory(rest: str, base: Path) -> FactoryRef:
    """Finds ``FILE.py:NAME``, relative to `base`, or ``PKG.MOD:NAME``, without loading it.

    A module is looked for below `base` first, then among the installed ones.

    Raises:
        InputError: if there is no such file, module or function; the nearest name is offered.
    """
    place, _, name = (rest, "", "") if _is_file_name(rest) else rest.rpartition(":")
    if _is_file_name(place):
        file = _existing(base, place)
        ref = _in_file(rest, name, file)
    elif all(part.isidentifier() for part in place.split(".")):
        ref = _find_module(rest, place, name, base)
    else:
        raise InputError(f"{rest!r}: expected FILE.py:NAME or PKG.MOD:NAME")
    if ref.file is not None and ref.file.suffix == ".py":
        _check_name(ref, ref.file)
    elif not name:
        raise InputError(f"{rest!r}: expected {place}:NAME")
    return ref


def load_factory(ref: FactoryRef) -> Callable[..., Any]:
    """Imports the module of `ref` and returns what it names.

    Raises:
        InputError: if the module can't be imported (its own traceback is the detail), or what is
            named can't be called.
    """
    shown = ref.file.name if ref.file else ref.module
    name = ref.module if ref.installed else f"{_private_package(ref)}.{ref.module}"
    with _told(f"importing {shown}"):
        module = importlib.import_module(name)
    if not hasattr(module, ref.name):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise InputError(unknown(f"function of {shown}", ref.name, names))
    factory = getattr(module, ref.name)
    if not callable(factory):
        raise InputError(
            f"{ref}: expected a function or a class, got {type(factory).__name__} {ref.name!r}"
        )
    return cast("Callable[..., Any]", factory)


def call_factory(factory: Callable[..., Any], what: str, *args: Any) -> Any:
    """Returns ``factory(*args)``.

    The random states of Python, NumPy and torch are seeded for the call and restored after it, so
    that a factory that initialises at random makes the same model in every worker.

    Raises:
        InputError: "`what` raised ...", with the user's traceback as its detail; an error that is
            one of ours already passes as it is.
    """
    with _told(what), _seeded():
        return factory(*args)


def public_name(value: Any) -> str:
    """Returns ``module.qualname`` of a class or function, the same wherever its folder lies."""
    head, _, tail = value.__module__.partition(".")
    module = tail if head.startswith(_PREFIX) else value.__module__
    return f"{module}.{value.__qualname__}"


def is_private(value: Any) -> bool:
    """Whether a class or function comes from a user's folder that was loaded here."""
    return str(value.__module__).startswith(_PREFIX)


def user_traceback(error: BaseException) -> str:
    """Returns the traceback of `error` without the frames of Crucibench and of the importer."""
    report = traceback.TracebackException.from_exception(error, compact=True)
    seen: list[traceback.TracebackException | None] = [report]
    while seen:
        entry = seen.pop()
        if entry is not None:
            users = [frame for frame in entry.stack if not _is_ours(frame.filename)]
            entry.stack = traceback.StackSummary.from_list(users or entry.stack)
            seen += [entry.__cause__, entry.__context__, *(entry.exceptions or ())]
    return _plain("".join(report.format())).rstrip()


def one_line(error: BaseException) -> str:
    """Returns the type and the first line of the message of `error`."""
    lines = [line.strip() for line in _plain(str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except CrucibenchError:
        raise
    except (Exception, SystemExit) as error:
        message = f"{what} raised {one_line(error)}"
        raise InputError(message, detail=user_traceback(error)) from error


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state() if torch else None
    random.seed(0)
    if numpy:
        numpy.random.seed(0)
    if torch:
        torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.set_rng_state(torch_state)


# Finding, without importing.


def _is_file_name(text: str) -> bool:
    return text.endswith(".py")


def _existing(base: Path, name: str) -> Path:
    path = (base / Path(name).expanduser()).resolve()
    if path.is_file():
        return path
    if not path.parent.is_dir():
        raise InputError(f"file {name!r} does not exist: there is no folder {str(path.parent)!r}")
    guess = nearest(path.name, [entry.name for entry in path.parent.glob("*.py")])
    hint = f"; did you mean {guess!r}?" if guess else ""
    raise InputError(f"file {name!r} does not exist in {str(path.parent)!r}{hint}")


def _in_file(text: str, name: str, file: Path) -> FactoryRef:
    root = file.parent
    packages: list[str] = []
    while (root / "__init__.py").is_file() and root.parent != root:
        packages.insert(0, root.name)
        root = root.parent
    module = ".".join([*packages, file.stem.replace(".", "_")])
    places = (".".join(packages), "") if packages else ("",)
    return FactoryRef(text, name, module, file, root, places)


def _find_module(text: str, dotted: str, name: str, base: Path) -> FactoryRef:
    parts, base = dotted.split("."), base.resolve()
    files = _package_files(base, parts)
    if files and _is_leaf(files[-1], base.joinpath(*parts)):
        return FactoryRef(text, name, dotted, files[-1], base)
    path: Sequence[str] | None = None
    spec = None
    for end in range(1, len(parts) + 1):
        spec = importlib.machinery.PathFinder.find_spec(".".join(parts[:end]), path)
        if spec is None:
            at = ".".join(parts[:end])
            raise InputError(
                f"{text!r}: module {at!r} is neither installed nor below {str(base)!r}"
            )
        path = spec.submodule_search_locations
        if path is None and end < len(parts):
            raise InputError(f"{text!r}: {'.'.join(parts[:end])!r} is a module, not a package")
    if spec is None or not spec.origin:
        raise InputError(f"{text!r}: {dotted!r} is a folder without code")
    origin = Path(spec.origin).resolve()
    depth = len(parts) + (origin.name == "__init__.py")
    return FactoryRef(text, name, dotted, origin, origin.parents[depth - 1], installed=True)


def _is_leaf(file: Path, place: Path) -> bool:
    return file.parent == place or (file.parent == place.parent and file.stem == place.name)


def _package_files(root: Path, parts: Sequence[str]) -> list[Path]:
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
            compiled = [place.with_name(f"{part}{end}") for end in _EXTENSIONS]
            return [*files, *(file for file in compiled if file.is_file())]
    return files


def _module_files(root: Path, stem: list[str], below: list[str]) -> list[Path]:
    """Returns the files that ``from stem import below`` runs; what is below may be modules."""
    names = [stem, *([*stem, name] for name in below)]
    return [file for parts in names for file in _package_files(root, parts)]


_EXTENSIONS = importlib.machinery.EXTENSION_SUFFIXES


def _holds_code(folder: Path) -> bool:
    return folder.is_dir() and any(folder.rglob("*.py"))


def _check_name(ref: FactoryRef, file: Path) -> None:
    """Raises InputError if the module can't hold the name; an importing star can hold any."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        detail = user_traceback(error.with_traceback(None))
        raise InputError(
            f"{file.name} can't be read as Python: line {error.lineno}: {error.msg}", detail=detail
        ) from error
    functions = [
        node.name
        for node in tree.body
        if isinstance(node, _FUNCTIONS) and not node.name.startswith("_")
    ]
    if not ref.name:
        raise InputError(
            f"{ref.text!r}: expected {ref.text.rstrip(':')}:NAME "
            f"({file.name} defines: {', '.join(functions) or 'no function'})"
        )
    bound = set(_bound_names(tree))
    if not bound & {ref.name, "*", "__getattr__"}:
        raise InputError(unknown(f"function of {file.name}", ref.name, functions))


def _bound_names(tree: ast.Module) -> Iterator[str]:
    """Yields every name that the module may bind, not looking into functions and classes."""
    queue: list[ast.AST] = list(tree.body)
    while queue:
        node = queue.pop()
        if isinstance(node, _FUNCTIONS):
            yield node.name
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        else:
            queue += ast.iter_child_nodes(node)


# Loading, each folder apart.


@dataclass(frozen=True)
class _Folder:
    """A user's folder as a private package.

    Attributes:
        package: its name in `sys.modules`.
        root: the folder.
        places: as in `FactoryRef`.
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
        # A fresh one each time: a finder caches the folder's listing by its time stamp.
        def load_source(fullname: str, path: str) -> _Loader:
            return _Loader(fullname, path, self.builtins)

        source = cast("type[importlib.abc.Loader]", load_source)
        return importlib.machinery.FileFinder(
            entry,
            (importlib.machinery.ExtensionFileLoader, _EXTENSIONS),
            (source, importlib.machinery.SOURCE_SUFFIXES),
        )

    def _find_prefix(self, head: str) -> str | None:
        first = (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter)
        if any(finder.find_spec(head) for finder in first):
            return None
        folders = {place: self.root.joinpath(*place.split(".")) for place in self.places}
        found = [place for place, folder in folders.items() if _package_files(folder, [head])]
        if not found and importlib.machinery.PathFinder.find_spec(head) is None:
            # A folder without __init__.py yields to an installed module of its name.
            found = [place for place, folder in folders.items() if _holds_code(folder / head)]
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


def _private_package(ref: FactoryRef) -> str:
    """Registers the folder of `ref` with the contents of its files; returns the package's name."""
    digest = data_digest([str(ref.root), ref.module, ref.digest()])[:16]
    package = f"{_PREFIX}{digest}"
    if package not in _FINDER.folders:
        main = {f"{package}.{ref.module}": ref.file} if ref.file else {}
        _FINDER.folders[package] = _Folder(package, ref.root, ref.places, main)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)
    return package


# Telling.


def _is_ours(filename: str) -> bool:
    if filename == importlib.__file__ or filename.startswith("<frozen importlib"):
        return True
    # The bundled demo models, in a folder below the adapters, count as a user's.
    file = Path(filename)
    return _CORE in file.parents or file.parent.name == "crucibench_adapters"


def _plain(text: str) -> str:
    """Returns `text` with the user's own names in place of the private ones."""
    for package, folder in _FINDER.folders.items():
        text = text.replace(f"{package}.", "").replace(package, folder.root.name)
    return text
