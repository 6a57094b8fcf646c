"""User code named by ``FILE.py:NAME`` or ``PKG.MOD:NAME``: found, read, loaded and called.

A file of the user's is loaded as part of a private package of its folder (see
`crucibench.util.private_packages`); of a file inside a package, imports are looked for also in the
folder that holds the package.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import random
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any, cast

from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.private_packages import private_package
from crucibench.util.source_files import module_files, package_files
from crucibench.util.suggest import hint, unknown
from crucibench.util.user_errors import as_input_error, user_traceback

_LIBRARIES = frozenset(
    Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")
)
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
        queue = [self.file, *package_files(self.root, self.module.split(".")[:-1])]
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

    def identity(self) -> str:
        """Returns a digest of what `digest` covers and of which function of it is meant."""
        return data_digest([self.module, self.name, self.digest()])

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
                    files += module_files(self.root, stem, below)
        return files

    def _absolute(self, stem: list[str], below: list[str]) -> list[Path]:
        if self.installed and stem[0] != self.module.partition(".")[0]:
            return []
        for place in self.places:
            prefix = place.split(".") if place else []
            files = module_files(self.root, prefix + stem, below)
            if set(files) - set(package_files(self.root, prefix)):
                return files
        return []


def parse_factory(rest: str, base: Path) -> FactoryRef:
    """Finds ``FILE.py:NAME``, relative to `base`, or ``PKG.MOD:NAME``, without loading it.

    A module is looked for below `base` first, then among the installed ones.

    Raises:
        InputError: if there is no such file, module or function; the nearest name is offered.
    """
    place, _, name = (rest, "", "") if rest.endswith(".py") else rest.rpartition(":")
    if place.endswith(".py"):
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
    name = ref.module
    if not ref.installed:
        package = private_package(ref.root, ref.places, ref.module, ref.file, ref.digest())
        name = f"{package}.{name}"
    with as_input_error(f"importing {shown}"):
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
    with as_input_error(what), _seeded():
        return factory(*args)


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


def _existing(base: Path, name: str) -> Path:
    path = (base / Path(name).expanduser()).resolve()
    if path.is_file():
        return path
    if not path.parent.is_dir():
        raise InputError(f"file {name!r} does not exist: there is no folder {str(path.parent)!r}")
    siblings = [entry.name for entry in path.parent.glob("*.py")]
    meant = hint(path.name, siblings)
    raise InputError(f"file {name!r} does not exist in {str(path.parent)!r}{meant}")


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
    files = package_files(base, parts)
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
