"""The files that an address names: one, a folder's, a pattern's, or some behind a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crucibench.contracts.adapter import Sources
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import existing_file
from crucibench.data.remote import fetched_files, is_remote, remote_versions
from crucibench.util.errors import InputError

_PATTERN = "*["
"""What makes an address a pattern; a question mark begins the options."""


def is_pattern(rest: str) -> bool:
    """Whether an address is a pattern of ``*``, ``**`` and ``[...]``, not one name."""
    return any(character in rest for character in _PATTERN)


def matching_files(rest: str, base: Path, inside: str = "") -> tuple[Path, ...]:
    """Returns the files that `rest` names, in the order of their names.

    Args:
        rest: a file, a pattern, or a folder where `inside` is given.
        base: what it is relative to.
        inside: which files below a folder are meant, e.g. ``*.parquet``.

    Raises:
        InputError: if there is none.
    """
    folder = (base / Path(rest).expanduser()).resolve()
    if inside and folder.is_dir():
        files = sorted(folder.rglob(inside))
    elif not is_pattern(rest):
        return (existing_file(base, rest, "data file"),)
    else:
        files = sorted(path.resolve() for path in matches(rest, base) if path.is_file())
    if not files:
        raise InputError(f"no file is called {rest!r} (looked in {str(base.resolve())!r})")
    return tuple(files)


def matches(rest: str, base: Path) -> list[Path]:
    """Returns the files and folders that a pattern names, sorted."""
    pattern = Path(rest).expanduser()
    root = Path(pattern.anchor) if pattern.is_absolute() else base
    inner = pattern.relative_to(pattern.anchor) if pattern.is_absolute() else pattern
    return sorted(root.glob(str(inner)))


def named_sources(rest: str, base: Path, inside: str = "") -> Sources:
    """Returns what tells versions of the files apart that `rest` names.

    Raises:
        InputError: if there is none, or it can't be reached.
    """
    if is_remote(rest):
        return Sources((), remote_versions(rest))
    return Sources(matching_files(rest, base, inside))


def named_files(opening: DataOpening, inside: str = "") -> Sequence[Path]:
    """Returns the files that an address names, copied into the cache where they are remote.

    Raises:
        InputError: if there is none, or it can't be reached.
    """
    rest = opening.uri.rest
    if is_remote(rest):
        return fetched_files(rest, opening.scratch)
    return matching_files(rest, opening.base, inside)
