"""The cache of cells: whole cells, kept between runs under a digest of all that they depend on.

An entry is a folder ``XX/KEY/OUTPUTS/`` of a cell's records and probes with an ``entry.json``. It
is made under a hidden name, synced to disk and renamed, and it is never changed: several processes
may keep, fetch and prune at once, and one that is killed leaves nothing that is seen. What is read
is checked against its digests, so that damage is as good as absence. A cache that can't be read or
written is one that holds nothing: it fails no run.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crucibench.store.cells import StageFile
from crucibench.store.layout import ARTIFACTS
from crucibench.store.transfer import DamagedError, copy_file, copy_into
from crucibench.util import doors
from crucibench.util.atomic import write_text
from crucibench.util.errors import InputError
from crucibench.util.hashing import canonical_json, data_digest
from crucibench.util.numbers import parse_size

Kind = Literal["cell", "data index", "converted data"]

LEFTOVER_AGE = 86_400.0
"""Seconds after which a folder that is being made or removed is taken for left by a killed
process."""

# Where `crucibench.data` keeps what it makes, and the file that is read whenever one is opened.
_DATA: tuple[tuple[str, Kind, str], ...] = (
    ("index", "data index", "index.json"),
    ("arrow", "converted data", "content.json"),
)
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


def kept_entries(cache: Path) -> list[Entry]:
    """Returns all that is kept below the cache folder, the most recently used first."""
    data = [
        Entry(
            kind=kind, path=path, root=path.parent, key=path.name, size=size_of(path),
            last_used=_last_read(path, path / opened_first),
        )
        for folder, kind, opened_first in _DATA
        for path in subfolders(cache / folder)
        # The cache folder may hold other things: only what is named by a digest is ours.
        if _KEY.fullmatch(path.name)
    ]  # fmt: skip
    found = [*CellCache(cache / FOLDER).entries(), *data]
    return sorted(found, key=lambda entry: (-entry.last_used, str(entry.path)))


def sweep_all(cache: Path) -> int:
    """Removes what killed processes left below the cache folder; returns how many folders."""
    return sum(sweep(cache / folder) for folder in (FOLDER, *(name for name, _, _ in _DATA)))


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


DEFAULT_LIMIT = 10 * 1024**3
LIMIT_VARIABLE = "CRUCIBENCH_CACHE_LIMIT"
FOLDER = "cells"
"""Where cells are kept below the cache folder."""

_FORMAT: Literal[2] = 2
_ENTRY = "entry.json"
_FILE = re.compile(r"(?:records-|probes-|artifacts/)[A-Za-z0-9._-]+\.parquet")
_HEAD = re.compile(r"[0-9a-f]{2}")
_KEY = re.compile(r"[0-9a-f]{64}")
_OUTPUT = re.compile(r"[a-z]+")
_TRIES = 5

# A pass that was also asked for these differs only by their columns. `scores` and `values` decide
# what the predictions are, so a pass with them does not serve a request without them.
_SEPARABLE = frozenset({"features", "labels"})


@dataclass(frozen=True, kw_only=True)
class CacheKey:
    """What a cell's records follow from.

    Attributes:
        identity: the digest of the identity fields without the outputs of a pass.
        numerics: the digest of the numerics fields.
        outputs: what a pass was asked for, and artefacts as ``artifacts/NAME``.
    """

    identity: str
    numerics: str
    outputs: frozenset[str] = frozenset()

    @property
    def digest(self) -> str:
        """The digest of all but the outputs."""
        fields = {"format": _FORMAT, "identity": self.identity, "numerics": self.numerics}
        return data_digest(fields)


class KeptCell(BaseModel):
    """What a kept cell's ``entry.json`` holds.

    Attributes:
        identity: as in `CacheKey`; so are `numerics` and `outputs`.
        stages: what was asked in each stage.
        probes: the names of the probe records.
        files: name to SHA-256.
        size: bytes of the files.
        costs: what computing it once cost.
        probe: what its models answered to the fixed probe.
        labels: ``model``, ``data`` and ``scenario``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[2] = _FORMAT
    identity: str
    numerics: str
    outputs: list[str]
    stages: list[StageFile]
    probes: list[str]
    files: dict[str, str]
    size: int
    costs: dict[str, Any] = Field(default_factory=dict)
    probe: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def key(self) -> CacheKey:
        """What its records follow from."""
        return CacheKey(
            identity=self.identity, numerics=self.numerics, outputs=frozenset(self.outputs)
        )


def cache_limit() -> int:
    """Returns the bytes of cells to keep: ``CRUCIBENCH_CACHE_LIMIT``, or the default.

    Raises:
        InputError: if the variable holds no size.
    """
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return DEFAULT_LIMIT
    try:
        return parse_size(text)
    except ValueError as error:
        raise InputError(f"{LIMIT_VARIABLE}: {error}") from None


class CellCache:
    """The cells that are kept below one folder."""

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        """Takes the folder, which need not exist, and the bytes that it may hold.

        Raises:
            InputError: if the folder is a file, or would lie in one.
        """
        if (file := _file_in_the_way(folder)) is not None:
            raise InputError(
                f"cache folder {str(folder)!r}: expected a folder, but {str(file)!r} is a file"
            )
        self.folder = folder
        self.limit = limit
        self._room: int | None = None

    def fetch(
        self, key: CacheKey, into: Path, agrees: Callable[[Mapping[str, Any]], bool] | None = None
    ) -> KeptCell | None:
        """Copies a kept cell's files into `into`, checking each, and returns it; or None.

        Its `files` are those that now lie in `into`.

        A pass that was asked for more serves a request for fewer, without the columns that were
        not asked for, and a cell with artefacts one for records alone. What is damaged is removed
        from the cache, and nothing of it reaches `into`.

        Args:
            key: what the records follow from.
            into: the cell's folder.
            agrees: whether the models still answer as the `probe` says that was given to `keep`;
                an entry of which they don't is removed too: the cell as it is now takes its place.
        """
        for folder, entry in self._candidates(key):
            if agrees is not None and not agrees(entry.probe):
                discard(folder, self.folder)
                continue
            unwanted = frozenset(entry.outputs) - key.outputs
            try:
                files = copy_into(folder, entry.files, into, unwanted)
            except DamagedError:
                discard(folder, self.folder)
                continue
            except OSError:
                return None
            with contextlib.suppress(OSError):
                os.utime(folder / _ENTRY)
            return entry.model_copy(update={"files": files})
        return None

    def keep(  # noqa: PLR0917
        self,
        key: CacheKey,
        cell: Path,
        stages: Sequence[StageFile],
        probes: Sequence[str],
        files: Mapping[str, str],
        costs: Mapping[str, Any],
        *,
        probe: Mapping[str, Any] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> bool:
        """Keeps a cell's files, and lets go of the least recently used ones beyond the limit.

        Args:
            key: what they follow from.
            cell: the folder they lie in.
            stages: what was asked in each stage.
            probes: the names of the probe records.
            files: name to SHA-256; a file with another digest is not kept, and nor is the cell.
            costs: plain data on what computing the cell cost.
            probe: plain data on what its models answer to the fixed probe.
            labels: ``model``, ``data`` and ``scenario``, to list it by.

        Returns:
            Whether the cell is kept now. It is not if it is larger than the limit, or if the cache
            can't be written.

        Raises:
            ValueError: if a name is not one of records, probes or artefacts, or `costs` hold no
                plain data.
        """
        if strange := sorted(name for name in files if not _FILE.fullmatch(name)):
            raise ValueError(
                "files: expected names records-*.parquet, probes-*.parquet and "
                f"artifacts/*.parquet, got {strange}"
            )
        folder, temporary = self._folder(key), self.folder / hidden_name()
        try:
            if folder.is_dir():
                return True
            size = sum((cell / name).stat().st_size for name in files)
            text = _as_text(
                KeptCell(
                    identity=key.identity, numerics=key.numerics, outputs=sorted(key.outputs),
                    stages=list(stages), probes=list(probes), files=dict(files), size=size,
                    costs=dict(costs), probe=dict(probe or {}), labels=dict(labels or {}),
                )
            )  # fmt: skip
            size += len(text.encode())
            if size > self.limit:
                return False
            doors.make_folder(temporary)
            for name, digest in files.items():
                doors.make_folder((temporary / name).parent)
                copy_file(cell / name, temporary / name, digest)
            write_text(temporary / _ENTRY, text)  # last, and it syncs the folder too
            _place(temporary, folder)
        except (OSError, DamagedError):
            return False
        finally:
            doors.remove_folder(temporary, ignore_errors=True)
        self._make_room(size, folder)
        return True

    def entries(self) -> list[Entry]:
        """Returns what is kept, damaged entries without their names."""
        return list(self._entries(named=True))

    def _folder(self, key: CacheKey) -> Path:
        digest = key.digest
        return self.folder / digest[:2] / digest / _slug(key.outputs)

    def _candidates(self, key: CacheKey) -> Iterator[tuple[Path, KeptCell]]:
        """Yields what can serve a request, the exact entry first, then those with least to drop."""
        exact = self._folder(key)
        if (entry := self._read(exact)) is not None:
            yield exact, entry
        others = []
        for folder in subfolders(exact.parent):
            if folder == exact or (entry := self._read(folder)) is None:
                continue
            more = frozenset(entry.outputs) - key.outputs
            columns = {name for name in more if not name.startswith(ARTIFACTS)}
            fits = columns <= _SEPARABLE and (key.outputs or not columns)
            if fits and key.outputs < frozenset(entry.outputs):
                others.append((len(more), folder, entry))
        for _, folder, entry in sorted(others, key=lambda other: other[:2]):
            yield folder, entry

    def _read(self, folder: Path) -> KeptCell | None:
        """Returns an entry's own file; a damaged entry, or one in a wrong place, is removed."""
        # Twice: another process may put the entry there between the two looks of the first try.
        for _ in range(2):
            try:
                entry = _from_text((folder / _ENTRY).read_bytes())
                if self._folder(entry.key) == folder:
                    return entry
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                if not os.path.lexists(folder):
                    return None
            except OSError:  # no damage: too many open files, or another user's
                return None
            except ValueError:
                pass
        discard(folder, self.folder)
        return None

    def _entries(self, *, named: bool) -> Iterator[Entry]:
        for head in subfolders(self.folder):
            for home in subfolders(head) if _HEAD.fullmatch(head.name) else ():
                for folder in subfolders(home) if _KEY.fullmatch(home.name) else ():
                    with contextlib.suppress(OSError):  # gone meanwhile
                        yield self._entry(folder, named=named)

    def _entry(self, folder: Path, *, named: bool) -> Entry:
        path = folder / _ENTRY
        read: KeptCell | None = None
        if named:
            with contextlib.suppress(OSError, ValueError):
                read = _from_text(path.read_bytes())
        labels = read.labels if read else {}
        return Entry(
            kind="cell", path=folder, root=self.folder, key=folder.parent.name,
            size=size_of(folder), last_used=(path if path.is_file() else folder).stat().st_mtime,
            outputs=tuple(read.outputs) if read else (), model=labels.get("model", ""),
            data=labels.get("data", ""), scenario=labels.get("scenario", ""),
        )  # fmt: skip

    def _make_room(self, size: int, kept: Path) -> None:
        """Removes what is beyond the limit, but not what was just kept."""
        # Looking through the whole cache after each cell would cost more than many a cell. A
        # process may fill an eighth of the free room before it looks again, since others may too.
        if self._room is not None and size <= self._room:
            self._room -= size
            return
        entries = list(self._entries(named=False))
        gone = remove(overdue(entries, limit=self.limit, spare=kept))
        total = sum(entry.size for entry in entries) - sum(entry.size for entry in gone)
        self._room = max(0, self.limit - total) // 8


def _file_in_the_way(folder: Path) -> Path | None:
    with contextlib.suppress(OSError):  # what may not be looked at can't be written either
        for path in (folder, *folder.parents):
            if path.exists():
                return None if path.is_dir() else path
    return None


def _slug(outputs: frozenset[str]) -> str:
    names = sorted(outputs)
    text = "+".join(["records", *names])
    plain = all(_OUTPUT.fullmatch(name) for name in names) and len(text) <= 80
    return text if plain else data_digest(names)


def _place(temporary: Path, folder: Path) -> None:
    for attempt in range(_TRIES):
        try:
            doors.make_folder(folder.parent)
            doors.rename(temporary, folder)
            return
        except OSError:
            if folder.is_dir():  # another process was first, with the same content
                return
            if attempt == _TRIES - 1:  # else its parent was just pruned for being empty
                raise


def _as_text(entry: KeptCell) -> str:
    return _signed(entry.model_dump(mode="json"))


def _signed(fields: Any) -> str:
    return canonical_json({"digest": data_digest(fields), "entry": fields}) + "\n"


def _from_text(content: bytes) -> KeptCell:
    """The inverse of `_as_text`; ValueError unless every byte is as it was written."""
    document = json.loads(content)
    fields = document.get("entry") if isinstance(document, dict) else None
    if _signed(fields).encode() != content:
        raise ValueError("its content has changed")
    try:
        entry = KeptCell.model_validate(fields)
    except ValidationError as error:
        raise ValueError("it is of another format") from error
    if not all(_FILE.fullmatch(name) for name in entry.files):
        raise ValueError("it names a file that is none of a cell's")
    return entry
