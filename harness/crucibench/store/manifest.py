"""The manifest: written last, it says that a run is whole and what it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crucibench.store.layout import FORMAT_VERSION, Layout
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import data_digest, file_digest

_NOT_RESULTS = frozenset({"timing.json"})


def digests(layout: Layout) -> dict[str, str]:
    """Returns the digest of every file of spec, environment, samples and cells.

    Timings stand apart: the same results measured twice have the same manifest.
    """
    files = [layout.spec] if layout.spec.is_file() else []
    for folder in (layout.environment, layout.samples, layout.cells):
        files += sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and path.name not in _NOT_RESULTS and not path.name.startswith(".")
        )
    return {path.relative_to(layout.root).as_posix(): file_digest(path) for path in files}


def write_manifest(layout: Layout, version: str) -> None:
    """Hashes the run and writes its manifest."""
    files = digests(layout)
    write_json(
        layout.manifest,
        {
            "format_version": FORMAT_VERSION,
            "crucibench_version": version,
            "digest": data_digest(files),
            "files": files,
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
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnreadableError(
            f"run {str(layout.root)!r} has no manifest: it was not finished; run the same command "
            "again to resume"
        ) from error
    except (OSError, ValueError) as error:
        raise UnreadableError(f"manifest {str(path)!r} can't be read: {error}") from error
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UnreadableError(
            f"run {str(layout.root)!r}: expected format {FORMAT_VERSION}, "
            f"got {manifest.get('format_version')!r}"
        )
    return manifest


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
