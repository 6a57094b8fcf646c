"""Which columns groups may be crossed by."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from crucibench.contracts.data import DataCard
from crucibench.util.errors import InputError
from crucibench.util.suggest import unknown

_CLASS = "class"


def class_column(groups: Collection[str]) -> str:
    """Returns what the true class is called among group columns: one may be called ``class``."""
    return _CLASS if _CLASS not in groups else f"true {_CLASS}"


def check_crossings(cross: Sequence[Sequence[str]], card: DataCard) -> None:
    """Holds crossings against the group columns of a data set.

    Raises:
        InputError: if one names a column that the data set has no groups of.
    """
    known = list(card.groups)
    if card.task.kind == "classification":
        known.append(class_column(known))
    for name in (name for columns in cross for name in columns):
        if name not in known:
            told = unknown(f"group column of {card.name}", name, known)
            raise InputError(f"shift.cross: {told}")
