"""The manifest: written last, it says that a run is whole and what it holds.

Sizes and times of its files are remembered, so that what has not changed is not hashed again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from crucibench.store.documents import read_document
from crucibench.store.layout import FORMAT_VERSION, Layout
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import data_digest, file_digest

_NOT_RESULTS = frozenset({"timing.json", "log.txt"})
_KEYS = {"files": dict, "views": dict, "digest": str, "crucibench_version": str}


def is_result(name: str) -> bool:
    """Says whether a file or folder of this name, below environment, samples or cells, counts."""
    return name not in _NOT_RESULTS and not name.startswith(".")


def digests(layout: Layout) -> dict[str, str]:
    """Returns the digest of every file of spec, environment, samples and cells.

    Timings stand apart: the same results measured twice have the same manifest.
    """
    files = [layout.spec] if layout.spec.is_file() else []
    for folder in (layout.environment, layout.samples, layout.cells):
        files += sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and all(map(is_result, path.relative_to(layout.root).parts))
        )
    return {path.relative_to(layout.root).as_posix(): file_digest(path) for path in files}


def write_manifest(layout: Layout, version: str) -> None:
    """Hashes the run and writes its manifest.

    Views stand beside its files: they are computed from these, so a damaged one can be made anew.
    """
    files = digests(layout)
    views = [layout.metrics] if layout.metrics.is_file() else []
    write_json(
        layout.manifest,
        {
            "format_version": FORMAT_VERSION,
            "crucibench_version": version,
            "digest": data_digest(files),
            "files": files,
            "views": {path.name: file_digest(path) for path in views},
        },
    )


def read_manifest(layout: Layout) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
        UnreadableError: if there is none (the run is not finished) or it is damaged or of another
            format.
    """
    path: Path = layout.manifest
    if not layout.root.is_dir():
        raise UnreadableError(f"there is no run at {str(layout.root)!r}")
    if not path.exists():
        raise UnreadableError(
            f"run {str(layout.root)!r} has no manifest: it was not finished; run the same command "
            "again to resume"
        )
    manifest: Any = read_document(path)
    if not isinstance(manifest, dict):
        raise UnreadableError(f"manifest {str(path)!r} can't be read: expected a mapping")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UnreadableError(
            f"run {str(layout.root)!r}: expected format {FORMAT_VERSION}, "
            f"got {manifest.get('format_version')!r}"
        )
    for key, kind in _KEYS.items():
        if not isinstance(manifest.get(key, {} if key == "views" else None), kind):
            raise UnreadableError(f"manifest {str(path)!r} can't be read: {key} is missing")
    found: dict[str, Any] = manifest
    return found


def is_damaged(layout: Layout) -> bool:
    """Says whether there is a manifest that is not as it was written.

    One of another format is not damaged: `read_manifest` refuses it.
    """
    if not layout.manifest.exists():
        return False
    try:
        manifest: Any = read_document(layout.manifest)
    except UnreadableError:
        return True
    if not isinstance(manifest, dict) or manifest.get("format_version") != FORMAT_VERSION:
        return not isinstance(manifest, dict)
    files = manifest.get("files")
    return not isinstance(files, dict) or manifest.get("digest") != data_digest(files)


def changed_views(layout: Layout) -> list[str]:
    """Returns the names of views that are missing or not as the manifest says."""
    stated: dict[str, str] = read_manifest(layout).get("views", {})
    return sorted(
        name
        for name, digest in stated.items()
        if not (layout.root / name).is_file() or file_digest(layout.root / name) != digest
    )


def differences(layout: Layout) -> list[str]:
    """Returns one sentence for each file that is not as the manifest says; none means sound."""
    stated: dict[str, str] = read_manifest(layout)["files"]
    found = digests(layout)
    sentences = [f"{name}: missing" for name in stated.keys() - found.keys()]
    sentences += [f"{name}: not in the manifest" for name in found.keys() - stated.keys()]
    sentences += [
        f"{name}: its content has changed"
        for name in stated.keys() & found.keys()
        if stated[name] != found[name]
    ]
    return sorted(sentences)


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
