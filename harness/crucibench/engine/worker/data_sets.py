"""Data sets opened, each with the further ones that go with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crucibench.contracts.data import EvalSet
from crucibench.contracts.source import DataOpening, DataSource, RawData
from crucibench.engine.resolve.resolve import Resolved
from crucibench.util.errors import InputError


def open_resolved(
    name: str,
    resolved: Resolved,
    scratch: Path,
    failed: Callable[[str, Exception], None],
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
    made: dict[str, RawData] | None = None,
) -> EvalSet | None:
    """Opens a data set with the further ones that go with it.

    Args:
        name: of the data set.
        resolved: the spec.
        scratch: the cache.
        failed: hears of each further address that can't be opened: its path in the spec, and why.
        progress: called with the number of samples done and their total.
        made: by role, "" for the data set itself, what was read before and is not to be read
            again; takes what is read now.

    Returns:
        The data set, or None where some further data set could not be opened.

    Raises:
        InputError: if the main data set can't be opened.
    """
    from crucibench.data.evalset import ExtendedEvalSet, open_data, open_suite_data

    entry = resolved.data[name]
    opening = DataOpening(
        name=name, uri=entry.uri, base=resolved.base, scratch=scratch, live=entry.live,
        allow_pickle=resolved.allow_pickle, progress=progress,
    )  # fmt: skip
    made = {} if made is None else made
    main = open_data(_Once(entry.source(), "", made), opening)
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
            opened[one.role] = open_suite_data(
                _Once(one.source(), one.role, made), more, main, one.labels
            )
        except Exception as error:
            failed(one.path, error)
    if len(opened) < len(entry.further):
        return None
    return ExtendedEvalSet(main, opened) if opened else main


class _Once(DataSource):
    """A source that is read only if nobody has done so before."""

    def __init__(self, source: DataSource, role: str, made: dict[str, RawData]) -> None:
        self._source, self._role, self._made = source, role, made

    def read(self, opening: DataOpening) -> RawData:
        if self._role not in self._made:
            self._made[self._role] = self._source.read(opening)
        return self._made[self._role]
