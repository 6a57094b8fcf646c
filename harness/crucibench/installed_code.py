"""What the code of suites and plug-ins is: digests of the files of the packages that register them.

A version number does not tell that a line was edited. Crucibench's own core goes by its version; a
suite and what is plugged in go by their files, so that an edited attack asks the model anew.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from crucibench.registry import KINDS, suites
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.registry import Registered

_CORE = "crucibench"
_COLLECTING = ("attacks", "detectors", "corruptions", "tasks")
"""Kinds whose code makes what a model is asked, or what is kept of its answers."""

_LARGE = 1 << 20
"""Bytes of a file from which its size stands for its content: weights, and no code."""

_ASIDE = frozenset({".pyc", ".md", ".rst"})


def collecting_code(suite: str, scheme: str, parameters: Mapping[str, Any]) -> dict[str, str]:
    """Returns the digests of the code that collects a scenario's records, by package.

    Args:
        suite: that the scenario belongs to; its modules that only score are left out.
        scheme: of the model's address, whose adapter asks it.
        parameters: of the scenario and its task: what is plugged in and named there counts.
    """
    own, found = "", {}
    if suite in suites().names():
        own = _package_of_suite(suite)
        found[own] = _digest(own, suites().get(suite).scoring)
    named = json.dumps(parameters, default=str)
    used = [
        entry for kind in _COLLECTING for entry in _entries(kind) if json.dumps(entry.name) in named
    ]
    used += [entry for entry in _entries("models") if entry.name == scheme]
    for package in sorted({_top(entry.target) for entry in used}):
        if package not in {_CORE, _top(own)}:
            found[package] = _digest(package)
    return found


def code_of(chosen: Iterable[str]) -> dict[str, str]:
    """Returns the digests of all code of suites, and of whatever is plugged in, by package."""
    own = [_package_of_suite(name) for name in chosen]
    plugged = {_top(entry.target) for kind in KINDS for entry in _entries(kind)}
    ours = {_CORE, *map(_top, own)}
    return {package: _digest(package) for package in sorted({*own, *(plugged - ours)})}


def code_now(packages: Iterable[str]) -> dict[str, str]:
    """Returns the digests of packages as they are installed now; "" for one that is not."""
    return {package: _digest(package) for package in packages}


@cache
def _listed(kind: str) -> tuple[Registered, ...]:
    return tuple(KINDS[kind].entries())  # which looks through all that is installed


def _entries(kind: str) -> Iterable[Registered]:
    return _listed(kind) if KINDS[kind].registry is None else KINDS[kind].entries()


def _package_of_suite(name: str) -> str:
    """Returns the package that holds a suite's module; the module, where no package does."""
    return _package(next(entry.target for entry in suites().entries() if entry.name == name))


@cache
def _package(target: str) -> str:
    module = target.partition(":")[0]
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        return module
    return module.rpartition(".")[0] or module


def _top(name: str) -> str:
    """Returns the outermost package of a module, or of what an entry point names."""
    return name.partition(":")[0].partition(".")[0]


@cache
def _digest(package: str, aside: tuple[str, ...] = ()) -> str:
    """Returns a digest of a package with all that is beside it in its distribution's package, but
    for other suites; of the code as it is when it is first asked for, which is the code that runs.

    Args:
        package: with dots; or a module.
        aside: modules and packages in it that don't count.
    """
    top = _top(package)
    spec = importlib.util.find_spec(top)
    if spec is None:
        return ""
    if not spec.submodule_search_locations:
        return file_digest(Path(spec.origin)) if spec.origin else ""
    others = {_package_of_suite(name) for name in suites().names()} - {package}
    without = [other for other in others if not f"{package}.".startswith(f"{other}.")]
    without += [f"{package}.{name}" for name in aside]
    return data_digest(
        {
            name: _of_file(path)
            for folder in spec.submodule_search_locations
            for name, path in _files(Path(folder))
            if not any(f"{top}.{name}.".startswith(f"{other}.") for other in without)
        }
    )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields what is in a package, by its name with dots, without suffix."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _ASIDE:
            yield path.relative_to(folder).as_posix().replace("/", "."), path


def _of_file(path: Path) -> str | int:
    size = path.stat().st_size
    return file_digest(path) if size < _LARGE else size
