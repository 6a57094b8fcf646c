"""Versions of the libraries that a model comes from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version

_EVERYWHERE = frozenset({"torch", "numpy", "pandas", "scipy", "sklearn", "builtins", "crucibench"})
"""What every run notes anyway."""


def package_version(distribution: str) -> str:
    """Returns an installed version, or "absent"."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def library_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of the distributions that hold importable packages, by distribution.

    Python's own modules, and libraries whose versions every run notes, are left out.
    """
    wanted = set(packages) - _EVERYWHERE - sys.stdlib_module_names
    holders = _holders() if wanted else {}
    return {
        name: package_version(name)
        for package in sorted(wanted)
        for name in holders.get(package, ())
    }


@cache
def _holders() -> Mapping[str, list[str]]:
    return {name: sorted(set(found)) for name, found in packages_distributions().items()}
