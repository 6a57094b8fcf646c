"""The files that a finished run's models and data read beside those that its spec names, and the
code of its suites.

They are not part of the run's id, since they are known only after the code has run. So the same
command checks whether they have changed: sizes and times first, contents where these differ.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crucibench.installed_code import code_now
from crucibench.store.documents import read_document
from crucibench.store.layout import Layout
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import data_digest, file_digest

_NAME = ".reads.json"


def remember_reads(
    layout: Layout, base: Path, reads: Mapping[str, str], code: Mapping[str, str]
) -> None:
    """Writes what was read, and what code made the run.

    Args:
        layout: of the run.
        base: what paths are kept relative to.
        reads: absolute path to SHA-256.
        code: package to digest, see `installed_code.code_of`.
    """
    found: dict[str, Any] = {}
    for path, digest in sorted(reads.items()):
        name = Path(os.path.relpath(path, base.resolve())).as_posix()
        found[name] = {"digest": digest, "stat": _stat(base / name)}
    write_json(layout.root / _NAME, {"files": found, "code": dict(code)})


def other_reads(layout: Layout, base: Path) -> str:
    """Returns a digest of what files and code are now, or "" if all are as they were."""
    known, code = _known(layout)
    now: dict[str, str] = {}
    if not all(_stat(base / name) == one.get("stat") is not None for name, one in known.items()):
        now = {name: _digest(base / name) for name in known}
        if all(now[name] == one.get("digest") for name, one in known.items()):
            now = {}
    installed = code_now(code)
    if not now and installed == code:
        return ""
    return data_digest({**now, "code": installed})


def _known(layout: Layout) -> tuple[Mapping[str, Mapping[str, Any]], dict[str, str]]:
    try:
        found = read_document(layout.root / _NAME)
        return found["files"], found["code"]
    except (UnreadableError, KeyError, TypeError):
        return {}, {}


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return ""


def _stat(path: Path) -> list[int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ino]
