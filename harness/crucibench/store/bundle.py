"""Bundles: all that is needed to check a run, in one file to be signed.

A ZIP archive, ``*.zip``: the run directory less what is not published (`store.redaction`), and in
``bundle/`` the account of it: ``bundle.json`` (dates, digests, what was left out of which file),
``run-manifest.json`` (the run's own), ``verification.json``, ``not-measured.json`` and
``README.md``. Equal runs give equal bytes. Other than a pack it keeps everything that numbers were
computed from, under the samples' own ids, so that they can be computed again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from crucibench.store.archive import PackedRun, checked_id, unpack, write_archive
from crucibench.store.cells import read_cell
from crucibench.store.documents import read_typed
from crucibench.store.events import Dates
from crucibench.store.layout import FORMAT_VERSION, Layout
from crucibench.store.manifest import is_result
from crucibench.store.redaction import (
    Disclosure,
    Redacted,
    is_published,
    published_words,
    redacted_cell,
    redacted_samples,
    redacted_table,
)
from crucibench.store.run import Run
from crucibench.util.hashing import data_digest

BUNDLE_FORMAT: Literal[1] = 1
SUFFIX = ".zip"
KIND = "bundle"
FOLDER = "bundle"


@dataclass(frozen=True)
class _Account:
    """What is read of ``bundle.json``."""

    dates: tuple[float | None, float | None]


@dataclass(frozen=True)
class _Manifest:
    """What is read of ``run-manifest.json``."""

    digest: str
    files: dict[str, str]


class BundleRun(PackedRun):
    """A run read from an unpacked bundle."""

    @cached_property
    def account(self) -> dict[str, Any]:
        """``bundle.json``."""
        found: dict[str, Any] = read_typed(self.root / FOLDER / "bundle.json", _Account)
        return found

    @cached_property
    def verification(self) -> dict[str, Any]:
        """``verification.json``."""
        found: dict[str, Any] = read_typed(self.root / FOLDER / "verification.json", dict[str, Any])
        return found

    @cached_property
    def run_manifest(self) -> dict[str, Any]:
        """The manifest of the run that the bundle was made of."""
        found: dict[str, Any] = read_typed(self.root / FOLDER / "run-manifest.json", _Manifest)
        return found

    @cached_property
    def dates(self) -> Dates:
        """When the run was made."""
        return Dates(*self.account["dates"])

    @property
    def digest(self) -> str:
        """The digest of the run that the bundle was made of."""
        return str(self.run_manifest["digest"])


def bundle_files(run: Run, kept: Disclosure) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """Returns the files of a run less what is not published, and what each one lacks.

    Args:
        run: a finished run.
        kept: what is published although it says something of samples.

    Returns:
        Name to content; and name to what was left out of it, "all of it" for a file that is absent.
    """
    names = {name for card in run.cards.values() for name in card.task.classes}
    words = published_words(run.metric_table(), run.suites)
    files: dict[str, bytes] = {}
    withheld: dict[str, list[str]] = {}
    for path in _published(run.layout):
        name = path.relative_to(run.root).as_posix()
        found = _redacted(run, path, kept, names, words)
        if found is None:
            withheld[name] = ["all of it"]
            continue
        files[name] = found.content
        if found.withheld:
            withheld[name] = list(found.withheld)
    return files, withheld


def write_bundle(
    path: Path, run: Run, files: Mapping[str, bytes], documents: Mapping[str, str], version: str
) -> None:
    """Writes a bundle.

    Args:
        path: where to.
        run: what it is of.
        files: as `bundle_files` gives them.
        documents: the account, name in ``bundle/`` to text.
        version: of this package.
    """
    whole = dict(files)
    whole |= {f"{FOLDER}/{name}": text.encode() for name, text in documents.items()}
    whole["manifest.json"] = manifest_of(whole, run.id, version)
    write_archive(path, KIND, whole)


def manifest_of(files: Mapping[str, bytes], run: str, version: str) -> bytes:
    """Returns a manifest of the files, in the form of a run's."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    results = {name: digest for name, digest in sorted(digests.items()) if _is_result(name)}
    manifest = {
        "format_version": FORMAT_VERSION,
        "crucibench_version": version,
        "digest": data_digest(results),
        "files": results,
        "views": {"metrics.parquet": digests["metrics.parquet"]},
        KIND: {
            "format_version": BUNDLE_FORMAT,
            "run": checked_id(run),
            "files": {name: one for name, one in sorted(digests.items()) if name not in results},
        },
    }
    return json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"


def open_bundle(path: Path) -> BundleRun:
    """Opens a bundle: it is unpacked into a folder that goes when the run is no longer used.

    Raises:
        UnreadableError: if it is no bundle, damaged, or of another format.
    """
    return BundleRun(*unpack(path, KIND, BUNDLE_FORMAT, "files"))


def _published(layout: Layout) -> list[Path]:
    """Returns the files of a run that could be published, sorted."""
    folders = (layout.environment, layout.samples, layout.cells, layout.root / "tables")
    found = [layout.spec, layout.metrics]
    for folder in folders:
        found += [
            path
            for path in folder.rglob("*")
            if path.is_file()
            and not any(part.startswith(".") for part in path.relative_to(layout.root).parts)
        ]
    return sorted(path for path in found if path.is_file())


def _redacted(
    run: Run, path: Path, kept: Disclosure, names: set[str], words: set[str]
) -> Redacted | None:
    """Returns a file less what is not published; None for one that is not published at all."""
    content = path.read_bytes()
    inside = path.relative_to(run.root).parts
    if not kept.inputs and (path.name == "log.txt" or "artifacts" in inside):
        return None
    if inside[0] == "samples" and path.suffix == ".parquet":
        return redacted_samples(content, kept)
    if path.name == "cell.json":
        return redacted_cell(content, read_cell(path), kept)
    if inside[0] == "tables":
        return Redacted(content, ()) if is_published(content, kept, names, words) else None
    if path.suffix == ".parquet" and path != run.layout.metrics:
        return redacted_table(content, kept, names)
    return Redacted(content, ())


def _is_result(name: str) -> bool:
    parts = name.split("/")
    return name == "spec.yaml" or (
        parts[0] in {"environment", "samples", "cells"} and all(map(is_result, parts))
    )
