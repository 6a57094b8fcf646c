"""Finding the run that a reference means."""

from __future__ import annotations

from pathlib import Path

from crucibench.store.find import find_run, load
from crucibench.store.run import Run
from crucibench.util.errors import InputError


def found(reference: str, out: Path) -> Run:
    """Returns a run by path, the start of its id, or ``latest``; it may be unfinished.

    Raises:
        InputError: if there is none.
        UnreadableError: if there is a folder of that name that holds no run.
    """
    try:
        return find_run(reference, out)
    except InputError:
        for folder in (Path(reference), out / reference):
            if reference != "latest" and folder.is_dir():
                return load(folder)
        raise


def finished(reference: str, out: Path) -> Run:
    """Returns a run that has its manifest.

    Raises:
        InputError: if there is none.
        UnreadableError: if it is not finished, or its manifest is damaged.
    """
    run = found(reference, out)
    _ = run.manifest
    return run


def sound(reference: str, out: Path) -> Run:
    """Returns a run that is as its manifest says, as far as a quick look tells.

    Raises:
        InputError: if there is none.
        UnreadableError: if it is not finished, or damaged.
    """
    from crucibench.store.stats import require_unchanged

    run = finished(reference, out)
    if not run.packed:  # a pack is checked when it is opened
        require_unchanged(run.layout, run.manifest)
    return run
