"""A cell's journal: which of its files count. A file counts once its line stands here.

One process, which holds the run, appends and syncs it; if it is killed between the rename of a
file and its line, the file is made again. Each line begins with a checksum: a
journal that was damaged vouches for nothing.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crucibench.store.layout import ANSWERS, ARTIFACTS, stage_of
from crucibench.util import doors
from crucibench.util.doors import storing
from crucibench.util.hashing import file_digest
from crucibench.util.untrusted.content import RefusedError
from crucibench.util.untrusted.json_text import parse_json

NAME = ".journal"
RECORDS = "records-"


class Journal:
    """The journal of one cell's folder.

    Attributes:
        folder: the cell's.
        probes: the names of the probe records, once they are all there; None before.
        batch_size: what running out of memory brought the batch down to; None where it never did.
        choices: by number of the stage, the digest of what was chosen to enter it.
        costs: what each task cost, in the order in which they ended.
        attempts: how often a task was tried again.
        replaced: functions of libraries that models had replaced when it was asked last.
        probe: what the cell's models answered to the fixed probe when it was begun; None before.
        refused: in what way that differed from the answers stored with records that were then not
            used; None where none were refused.
    """

    def __init__(self, folder: Path, digests: Sequence[str]) -> None:
        """Reads the journal, or begins one.

        Args:
            folder: the cell's.
            digests: identity and numerics: a folder that another model, data set or library
                version left is emptied.

        Raises:
            StorageError: if the system refuses to write.
        """
        self.folder = folder
        self._begin()
        self._path = folder / NAME
        lines = self._read()
        if not lines or lines[0] != {"digests": list(digests)}:
            self._empty({"digests": list(digests)})
            return
        for line in lines[1:]:
            self._apply(line)

    def _begin(self) -> None:
        self._files: dict[str, str] = {}
        self._artifacts: set[str] = set()
        self._checked: set[str] = set()
        self.probes: list[str] | None = None
        self.batch_size: int | None = None
        self.choices: dict[int, str] = {}
        self.costs: list[Mapping[str, Any]] = []
        self.attempts = 0
        self.replaced: dict[str, None] = {}
        self.probe: Mapping[str, Any] | None = None
        self.refused: Mapping[str, Any] | None = None

    @property
    def files(self) -> Mapping[str, str]:
        """The digest of each file that counts, by name."""
        return self._files

    def holds(self, name: str) -> bool:
        """Whether a file counts and is on disk as it was written; looked at once."""
        if name in self._checked:
            return True
        if name not in self._files:
            return False
        try:
            same = file_digest(self.folder / name) == self._files[name]
        except OSError:
            same = False
        if same:
            self._checked.add(name)
        else:
            del self._files[name]
        return same

    def holds_shard(self, name: str) -> bool:
        """Whether a shard's records count and are on disk, with the artefacts beside them."""
        beside = f"-{name.removeprefix(RECORDS)}"
        artifacts = [other for other in self._artifacts if other.endswith(beside)]
        return all(self.holds(other) for other in (name, *artifacts))

    def add(self, files: Mapping[str, str], cost: Mapping[str, Any] | None = None) -> None:
        """Notes that files are there: name to digest, and what making them cost."""
        line: dict[str, Any] = {"files": dict(files)}
        line |= {"cost": dict(cost)} if cost else {}
        self._note(line)
        self._checked |= files.keys()

    def note_replaced(self, names: Sequence[str]) -> None:
        """Notes what was replaced in the process that made the files, if anything was."""
        if names:
            self._note({"replaced": list(names)})

    def add_probes(self, names: Sequence[str]) -> None:
        """Notes that all probe records are there."""
        self._note({"probes": list(names)})

    def reduce(self, batch_size: int) -> None:
        """Notes that memory ran out and the batch was made smaller."""
        if self.batch_size is None or batch_size < self.batch_size:
            self._note({"batch_size": batch_size})

    def note_choice(self, stage: int, digest: str) -> None:
        """Notes what enters a stage; if something else did before, its records no longer count."""
        if self.choices.get(stage) != digest:
            self._note({"stage": stage, "choice": digest})

    def note_retry(self, reason: str) -> None:
        """Notes that a task is tried again."""
        self._note({"again": reason})

    def note_probe(self, probe: Mapping[str, Any]) -> None:
        """Notes what the cell's models answer to the fixed probe when it is begun."""
        self._note({"probe": dict(probe)})

    def note_refusal(self, difference: Mapping[str, Any]) -> None:
        """Notes that kept records were not used, since a model now answers differently."""
        self._note({"refused": dict(difference)})

    def forget(self) -> None:
        """Drops the cell's files and begins anew under the same digests."""
        first = self._read()[0]
        self._begin()
        self._empty(first)

    def remove_uncounted(self) -> None:
        """Removes files of records, probes and artefacts that do not count, and logs of answers."""
        for pattern in ("*.parquet", f"{ARTIFACTS}*.parquet"):
            for path in self.folder.glob(pattern):
                if path.relative_to(self.folder).as_posix() not in self._files:
                    doors.unlink(path)
        for path in self.folder.glob(f"{ANSWERS}*"):
            doors.unlink(path)

    def _empty(self, first: Mapping[str, Any]) -> None:
        # The journal is removed before the files that it vouches for: a process that is killed here
        # leaves nothing that counts.
        with storing(self.folder):
            doors.unlink(self._path, missing_ok=True)
            if self.folder.is_dir():
                doors.remove_folder(self.folder)
            doors.make_folder(self.folder)
        self._append(first)

    def _note(self, line: dict[str, Any]) -> None:
        self._append(line)
        self._apply(line)

    def _apply(self, line: Mapping[str, Any]) -> None:
        files = line.get("files", {})
        self._files |= files
        self._artifacts |= {name for name in files if name.startswith(ARTIFACTS)}
        if "cost" in line:
            self.costs.append(line["cost"])
        self.replaced |= dict.fromkeys(line.get("replaced", ()))
        if "choice" in line:
            self._choose(line["stage"], line["choice"])
        if "again" in line:
            self.attempts += 1
        for name in ("probes", "batch_size", "probe", "refused"):
            if name in line:
                setattr(self, name, line[name])

    def _choose(self, stage: int, digest: str) -> None:
        if self.choices.get(stage, digest) != digest:
            late = {
                name for name in self._files
                if (of := stage_of(name)) is not None and of >= stage
            }  # fmt: skip
            for name in late:
                del self._files[name]
            self._checked -= late
            self._artifacts -= late
            self.choices = {key: value for key, value in self.choices.items() if key < stage}
        self.choices[stage] = digest

    def _read(self) -> list[dict[str, Any]]:
        return read_lines(self._path)

    def _append(self, line: Mapping[str, Any]) -> None:
        with storing(self._path), doors.open_file(self._path, "ab") as stream:
            stream.write(checked_line(line))
            stream.flush()
            doors.fsync(stream.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the lines of a file of `checked_line`; none of one that was damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:  # torn by a kill: the next line must not join it
        with doors.open_file(path, "rb+") as stream:
            stream.truncate(len(whole))
    lines: list[dict[str, Any]] = []
    for text in whole.splitlines():
        checksum, _, content = text.partition(b" ")
        if checksum != _checksum(content):
            return []  # damaged: no line is known to be whole
        try:
            lines.append(parse_json(content, path.name))
        except RefusedError:
            return []
    return lines


def checked_line(line: Mapping[str, Any]) -> bytes:
    """Returns a line with its checksum."""
    content = json.dumps(line, sort_keys=True).encode()
    return _checksum(content) + b" " + content + b"\n"


def _checksum(content: bytes) -> bytes:
    return b"%08x" % zlib.crc32(content)
