"""Lists and prunes what is kept between runs: folders that are there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from crucibench.util import doors

Kind = Literal["cell", "data index", "converted data"]

LEFTOVER_AGE = 86_400.0
"""Seconds after which a folder that is being made or removed is taken for left by a killed
process."""

# Where `crucibench.data` keeps what it makes, and the file that is read whenever one is opened.
_DATA: tuple[tuple[str, Kind, str], ...] = (
    ("index", "data index", "index.json"),
    ("arrow", "converted data", "content.json"),
)
_KEY = re.compile(r"[0-9a-f]{64}")
_HIDDEN = re.compile(r"\.[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One folder that is kept.

    Attributes:
        kind: what it holds.
        path: the folder.
        root: the folder in which its kind is made and removed, under hidden names.
        key: the digest that names it.
        size: bytes of its files.
        last_used: seconds since the epoch.
        outputs: what a pass was asked for.
        model: of a cell, where that was noted; so are `data` and `scenario`.
    """

    kind: Kind
    path: Path
    root: Path
    key: str
    size: int
    last_used: float
    outputs: tuple[str, ...] = ()
    model: str = ""
    data: str = ""
    scenario: str = ""


def data_entries(cache: Path) -> list[Entry]:
    """Returns the data indexes and the converted data below the cache folder."""
    return [
        Entry(
            kind=kind, path=path, root=path.parent, key=path.name, size=size_of(path),
            last_used=_last_read(path, path / opened_first),
        )
        for folder, kind, opened_first in _DATA
        for path in subfolders(cache / folder)
        # The cache folder may hold other things: only what is named by a digest is ours.
        if _KEY.fullmatch(path.name)
    ]  # fmt: skip


def data_roots(cache: Path) -> list[Path]:
    """Returns the folders in which data indexes and converted data are made."""
    return [cache / folder for folder, _, _ in _DATA]


def overdue(
    entries: Iterable[Entry],
    *,
    limit: int | None = None,
    older_than: float | None = None,
    spare: Path | None = None,
) -> list[Entry]:
    """Returns what has to go, the least recently used first.

    Args:
        entries: what there is.
        limit: the bytes that may stay.
        older_than: seconds since the last use after which an entry goes in any case.
        spare: the path of an entry that stays in any case.
    """
    ordered = sorted(entries, key=lambda entry: (entry.last_used, str(entry.path)))
    total = sum(entry.size for entry in ordered)
    before = -float("inf") if older_than is None else time.time() - older_than
    gone = []
    for entry in ordered:
        too_much = limit is not None and total > limit
        if entry.path != spare and (entry.last_used < before or too_much):
            gone.append(entry)
            total -= entry.size
    return gone


def remove(entries: Iterable[Entry]) -> list[Entry]:
    """Removes entries and returns those that are gone by this; others may be in use elsewhere."""
    return [entry for entry in entries if discard(entry.path, entry.root)]


def discard(folder: Path, root: Path) -> bool:
    """Removes a folder below `root`: it disappears at once, then its files are deleted.

    A process that has its files open goes on reading them.

    Returns:
        Whether this call did it.
    """
    hidden = root / hidden_name()
    try:
        doors.rename(folder, hidden)
    except OSError:  # another process was first, or may not, or (Windows) has a file open
        return False
    doors.remove_folder(hidden, ignore_errors=True)
    with contextlib.suppress(OSError):  # empty parents go, others stay
        for parent in folder.parents:
            if parent == root:
                break
            parent.rmdir()
    return True


def sweep(root: Path, older_than: float = LEFTOVER_AGE) -> int:
    """Removes what killed processes left in `root` under hidden names; returns how many folders."""
    before = time.time() - older_than
    count = 0
    for path in subfolders(root):
        if _HIDDEN.fullmatch(path.name) and _last_written(path) < before:
            doors.remove_folder(path, ignore_errors=True)
            count += not path.exists()
    return count


def hidden_name() -> str:
    """Returns a new name for a folder that is being made or removed."""
    return f".{uuid.uuid4().hex}"


def subfolders(folder: Path) -> Iterator[Path]:
    """Yields the folders in a folder, in the order of their names; none if it can't be read."""
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    for name in names:
        yield folder / name


def size_of(folder: Path) -> int:
    """Returns the bytes of the files in a folder."""
    return sum(facts.st_size for facts in _facts(folder))


def _facts(folder: Path) -> Iterator[os.stat_result]:
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # gone meanwhile
                yield (Path(parent) / name).lstat()


def _last_written(folder: Path) -> float:
    times = [facts.st_mtime for facts in _facts(folder)]
    with contextlib.suppress(OSError):
        times.append(folder.lstat().st_mtime)
    return max(times, default=time.time())


def _last_read(folder: Path, opened_first: Path) -> float:
    # A process that finds data in the cache renews the folder's time; where it could not, the time
    # of the last reading helps.
    try:
        facts = opened_first.stat()
        return max(facts.st_atime, facts.st_mtime, folder.stat().st_mtime)
    except OSError:
        return _last_written(folder)
