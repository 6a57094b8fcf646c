"""Data sets opened, each with the further ones that go with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crucibench.contracts.data import EvalSet
from crucibench.contracts.source import DataOpening
from crucibench.engine.resolve import Resolved
from crucibench.util.errors import InputError


def open_resolved(
    name: str,
    resolved: Resolved,
    scratch: Path,
    failed: Callable[[str, Exception], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvalSet | None:
    """Opens a data set with the further ones that go with it.

    Args:
        name: of the data set.
        resolved: the spec.
        scratch: the cache.
        failed: hears of each further address that can't be opened: its path in the spec, and why.
        progress: called with the number of samples done and their total.

    Returns:
        The data set, or None where some further data set could not be opened.

    Raises:
        InputError: if the main data set can't be opened.
    """
    from crucibench.data.evalset import open_data, open_further
    from crucibench.data.further import ExtendedEvalSet

    entry = resolved.data[name]
    opening = DataOpening(
        name=name, uri=entry.uri, base=resolved.base, scratch=scratch, live=entry.live,
        allow_pickle=resolved.allow_pickle, progress=progress,
    )  # fmt: skip
    main = open_data(entry.source(), opening)
    opened = {}
    for one in entry.further:
        more = DataOpening(
            name=one.role, uri=one.uri, base=resolved.base, scratch=scratch,
            allow_pickle=resolved.allow_pickle, progress=progress,
        )  # fmt: skip
        if one.role in main.card.counts:
            failed(one.path, InputError(f"the data set {name!r} has a role {one.role!r} already"))
            continue
        try:
            opened[one.role] = open_further(one.source(), more, main, one.labels)
        except Exception as error:
            failed(one.path, error)
    if len(opened) < len(entry.further):
        return None
    return ExtendedEvalSet(main, opened) if opened else main
