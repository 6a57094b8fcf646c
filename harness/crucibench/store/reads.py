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
from crucibench.util import doors
from crucibench.util.atomic import write_json
from crucibench.util.errors import UnreadableError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.outside import keyed_digests

_NAME = ".reads.json"


def remember_reads(
    layout: Layout,
    base: Path,
    reads: Mapping[str, Mapping[str, str]],
    code: Mapping[str, str],
    *,
    variables: Mapping[str, Mapping[str, str]],
    scratch: Path,
) -> None:
    """Writes what was read, and what code made the run.

    Args:
        layout: of the run.
        base: what paths are kept relative to.
        reads: by model, absolute path to SHA-256; under "" what data read.
        code: package to digest, see `installed_code.code_of`.
        variables: by model, environment variable to keyed digest. The run holds the names;
            the digests lie in the user's cache alone.
        scratch: that cache.
    """
    found: dict[str, Any] = {}
    by_model: dict[str, dict[str, list[str]]] = {}
    for model, digests in reads.items():
        for path, digest in sorted(digests.items()):
            name = Path(os.path.relpath(path, base.resolve())).as_posix()
            found[name] = {"digest": digest, "stat": _stat(base / name)}
            by_model.setdefault(model, {}).setdefault("files", []).append(name)
    for model, read in variables.items():
        by_model.setdefault(model, {})["environment"] = sorted(read)
    values = {name: one for read in variables.values() for name, one in read.items()}
    if values:
        doors.make_folder(_variables_file(layout, scratch).parent)
        write_json(_variables_file(layout, scratch), values)
    write_json(
        layout.root / _NAME,
        {"files": dict(sorted(found.items())), "code": dict(code), "environment": sorted(values),
         "models": by_model},
    )  # fmt: skip


def reads_of(layout: Layout, model: str) -> tuple[dict[str, str], dict[str, str], list[str]]:
    """Returns what a model of a finished run, and the run's data, depend on.

    Returns:
        Names of files that were read, relative to the spec's folder, to SHA-256; packages of code
        to digest; names of environment variables. Nothing where the run doesn't say.
    """
    files, code, _ = _known(layout)
    try:
        by_model = _read(layout.root / _NAME)["models"]
        parts = [by_model.get(name, {}) for name in (model, "")]
        names = sorted({name for part in parts for name in part.get("files", [])})
        variables = sorted({name for part in parts for name in part.get("environment", [])})
        return {name: str(files[name]["digest"]) for name in names}, code, variables
    except (AttributeError, KeyError, TypeError):
        return {}, code, []


def other_reads(layout: Layout, base: Path, scratch: Path) -> str:
    """Returns a digest of what files, code and environment are now, or "" if all are as they were.

    A run that another user made, and that depends on environment variables, has others.
    """
    known, code, names = _known(layout)
    now: dict[str, str] = {}
    if not all(_stat(base / name) == one.get("stat") is not None for name, one in known.items()):
        now = {name: _digest(base / name) for name in known}
        if all(now[name] == one.get("digest") for name, one in known.items()):
            now = {}
    installed = code_now(code)
    variables = keyed_digests(names, os.environ, scratch)
    same = not variables or variables == _read(_variables_file(layout, scratch))
    if not now and installed == code and same:
        return ""
    return data_digest({**now, "code": installed} | ({} if same else {"environment": variables}))


def _variables_file(layout: Layout, scratch: Path) -> Path:
    return scratch / "variables" / f"{data_digest(str(layout.root.resolve()))}.json"


def _read(path: Path) -> Any:
    try:
        return read_document(path)
    except UnreadableError:
        return {}


def _known(layout: Layout) -> tuple[Mapping[str, Mapping[str, Any]], dict[str, str], list[str]]:
    try:
        found = _read(layout.root / _NAME)
        return found["files"], found["code"], found["environment"]
    except (KeyError, TypeError):
        return {}, {}, []


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
