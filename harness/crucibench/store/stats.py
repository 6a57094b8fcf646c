"""Sizes and times of a finished run's files, so that what has not changed is not hashed again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from crucibench.store.documents import read_document
from crucibench.store.layout import Layout
from crucibench.store.manifest import is_result, read_manifest
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import file_digest

_NAME = ".stats.json"

Stat = list[int]
"""Size in bytes and time of the last change in nanoseconds."""


def remember(layout: Layout) -> None:
    """Writes size and time of every file that the manifest names; called right after it is written.

    Raises:
        UnreadableError: if there is no readable manifest.
    """
    stats = {name: _stat(os.fspath(layout.root / name)) for name in _stated(layout)}
    write_json(
        layout.root / _NAME,
        {
            "manifest": file_digest(layout.manifest),
            "files": {name: stat for name, stat in stats.items() if stat is not None},
        },
    )


def changed(layout: Layout, manifest: Mapping[str, Any] | None = None) -> list[str]:
    """Returns the names of files that are not as the manifest says, sorted.

    A file is hashed only if its size or time is not what was remembered of it, or nothing was.
    Files that the manifest does not name are among the changed ones.

    Args:
        layout: of the run.
        manifest: the run's, where it has been read already.

    Raises:
        UnreadableError: if there is no readable manifest.
    """
    stated = _stated(layout, manifest)
    known = _remembered(layout)
    root = os.fspath(layout.root)
    found = []
    for name, digest in stated.items():
        stat = _stat(f"{root}{os.sep}{name}")
        if stat is None or (known.get(name) != stat and file_digest(layout.root / name) != digest):
            found.append(name)
    return sorted([*found, *(name for name in _results(root) if name not in stated)])


def require_unchanged(layout: Layout, manifest: Mapping[str, Any] | None = None) -> None:
    """Refuses a run that is not as its manifest says, by the quick check of `changed`.

    Args:
        layout: of the run.
        manifest: the run's, where it has been read already.

    Raises:
        UnreadableError: if it is not, or is not finished.
    """
    found = changed(layout, manifest)
    if not found:
        return
    if all(name == layout.metrics.name for name in found):
        raise UnreadableError(not_as_scored(layout))
    raise UnreadableError(
        f"run {layout.root.name} is not as its manifest says: {found[0]} (crucibench verify "
        "lists all; the command that made the run mends it)"
    )


def not_as_scored(layout: Layout) -> str:
    """Says that the metric rows are not those of the manifest, and what computes them again."""
    return (
        f"{layout.metrics.name} is not what was scored; crucibench score {layout.root} computes it "
        "again"
    )


def _stated(layout: Layout, manifest: Mapping[str, Any] | None = None) -> dict[str, str]:
    if manifest is None:
        manifest = read_manifest(layout)
    stated: dict[str, str] = {**manifest["files"], **manifest.get("views", {})}
    return stated


def _remembered(layout: Layout) -> dict[str, Stat]:
    path = layout.root / _NAME
    try:
        document: dict[str, Any] = read_document(path)
        written = path.stat().st_mtime_ns
        files: dict[str, Stat] = document["files"]
        if document["manifest"] != file_digest(layout.manifest):
            return {}
        # A file that was written in the same tick of the file system's clock as the statistics may
        # have been written again after them without a change of its time.
        return {name: stat for name, stat in files.items() if stat[1] < written}
    except (OSError, UnreadableError, LookupError, TypeError, AttributeError):
        return {}  # everything is hashed


def _stat(path: str) -> Stat | None:
    try:
        stat = os.stat(path)  # noqa: PTH116 - a Path is dearer than the call
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns]


def _results(root: str) -> Iterator[str]:
    # A thousand runs have a hundred thousand files, and Path takes ten times as long.
    folders = ["environment", "samples", "cells"]
    while folders:
        inside = folders.pop()
        try:
            with os.scandir(f"{root}{os.sep}{inside}") as entries:
                for entry in entries:
                    if is_result(entry.name):
                        name = f"{inside}/{entry.name}"
                        if not entry.is_dir():
                            yield name
                        elif not entry.is_symlink():
                            folders.append(name)
        except FileNotFoundError:
            continue
