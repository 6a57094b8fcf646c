"""The order in which a leaderboard stands: of its data sets, and of the lines of a board."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crucibench.contracts.verdict import Verdict
from crucibench.report.leaderboard.board import Column, Entry
from crucibench.report.numbers import names_in_order
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    from crucibench.store.run import Run


_TRUST = (Verdict.VALID, Verdict.SUSPECT, Verdict.INVALID)


def data_in_order(runs: Sequence[Run], found: set[str]) -> list[str]:
    """Returns names of data sets as the runs list them, subsets with their whole."""
    names: dict[str, None] = {}
    for run in runs:
        if len(run.cards) == 1 and run.cards.keys() == {name for _, name in run.models}:
            names |= dict.fromkeys(run.cards)
            continue
        stems = {entry.get("name", "") for entry in run.spec.get("data") or []}
        own = {name for name in found if name in stems or name.rpartition("@")[0] in stems}
        names |= dict.fromkeys(names_in_order(run.spec, "data", own))
    return list(names | dict.fromkeys(sorted(found)))


def sort_column(sort: str | None, wanted: Sequence[Column]) -> Column | None:
    """Returns the column that `sort` means; None without it.

    Raises:
        InputError: if no column or several fit.
    """
    if sort is None:
        return None
    exact = [column for column in wanted if column.place == sort]
    fitting = exact or [column for column in wanted if column.place.endswith(f"/{sort}")]
    if not fitting:
        known = [column.place for column in wanted]
        if "/" not in sort:
            known = sorted({name.rpartition("/")[2] for name in known})
        raise InputError(unknown("column", sort, known))
    if len(fitting) > 1:
        names = ", ".join(column.place for column in fitting)
        raise InputError(f"column {sort!r} fits several: {names}")
    return fitting[0]


def rank(entry: Entry, direction: str) -> tuple[int, float]:
    """Returns the key by which lines are sorted: the best of the valid numbers first.

    Suspect ones stand after the valid, invalid ones after these, missing ones last.
    """
    number = entry.number
    if number is None or number.value is None:
        return len(_TRUST), 0.0
    value = number.value
    if direction.startswith("target="):
        key = abs(value - float(direction.removeprefix("target=")))
    else:
        key = value if direction == "lower" else -value
    return _TRUST.index(number.verdict), math.inf if math.isnan(key) else key
