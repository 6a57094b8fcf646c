"""The files that a finished run's models and data read beside those that its spec names.

They are not part of the run's id, since they are known only after the code has run. So the same
command checks whether they have changed: sizes and times first, contents where these differ.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crucibench.store.layout import Layout
from crucibench.util.atomic import write_json
from crucibench.util.hashing import data_digest, file_digest

_NAME = ".reads.json"


def remember_reads(layout: Layout, base: Path, reads: Mapping[str, str]) -> None:
    """Writes what was read: absolute path to SHA-256; kept relative to `base`."""
    found = {}
    for path, digest in sorted(reads.items()):
        name = Path(os.path.relpath(path, base.resolve())).as_posix()
        found[name] = {"digest": digest, "stat": _stat(base / name)}
    if found:
        write_json(layout.root / _NAME, found)
    else:
        (layout.root / _NAME).unlink(missing_ok=True)


def other_reads(layout: Layout, base: Path) -> str:
    """Returns a digest of what the files hold now, or "" if all are as they were."""
    known = _known(layout)
    if all(_stat(base / name) == one.get("stat") is not None for name, one in known.items()):
        return ""
    now = {name: _digest(base / name) for name in known}
    if all(now[name] == one.get("digest") for name, one in known.items()):
        return ""
    return data_digest(now)


def _known(layout: Layout) -> Mapping[str, Mapping[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads((layout.root / _NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return found


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
