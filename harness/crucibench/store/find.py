"""Opens a run by path, id prefix or ``latest``, or from a file."""

from __future__ import annotations

import os
from pathlib import Path

from crucibench.store.archive import kind_of
from crucibench.store.bundle import KIND as BUNDLE
from crucibench.store.bundle import open_bundle
from crucibench.store.layout import PART, Layout
from crucibench.store.pack import open_pack
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError


def load(path: str | os.PathLike[str]) -> Run:
    """Opens a run directory, or a pack or bundle of one.

    Raises:
        UnreadableError: if there is none, or the pack or bundle is damaged.
    """
    root = Path(path)
    if root.is_file():
        return open_bundle(root) if kind_of(root) == BUNDLE else open_pack(root)
    if not (root / "spec.yaml").is_file():
        raise UnreadableError(f"there is no run at {str(root)!r} (no spec.yaml)")
    _refuse_part(root)
    return Run(root)


def find_run(reference: str, out: Path) -> Run:
    """Finds a run by path (of a pack or bundle too), id prefix, or ``latest``, below `out`.

    Raises:
        InputError: if there is none, or the prefix fits several.
        UnreadableError: if the pack or bundle is damaged.
    """
    path = Path(reference)
    if path.is_file():
        return load(path)
    if (path / "spec.yaml").is_file():
        return load(path)
    folders = [entry.parent for entry in out.glob("*/spec.yaml")] if out.is_dir() else []
    folders = [folder for folder in folders if PART not in folder.name]
    if reference == "latest":
        if not folders:
            raise InputError(f"there is no run in {str(out)!r} yet")
        return Run(max(folders, key=_last_written))
    fitting = [folder for folder in folders if folder.name.startswith(reference)]
    if len(fitting) == 1:
        return Run(fitting[0])
    if fitting:
        names = ", ".join(sorted(folder.name for folder in fitting))
        raise InputError(f"run {reference!r} fits several: {names}")
    known = ", ".join(sorted(folder.name for folder in folders)) or "none"
    raise InputError(
        f"run {reference!r}: no such folder, and no run in {str(out)!r} (runs: {known})"
    )


def _refuse_part(root: Path) -> None:
    if PART in root.name or Layout(root).part.is_file():
        raise UnreadableError(
            f"{str(root)!r} is a part of a run: crucibench merge makes the run of all its parts"
        )


def _last_written(folder: Path) -> int:
    events = folder / "events.jsonl"
    return (events if events.is_file() else folder / "spec.yaml").stat().st_mtime_ns
