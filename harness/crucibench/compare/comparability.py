"""Which cells may be set side by side, and which field forbids it."""

from __future__ import annotations

from collections.abc import Collection

from crucibench.store.cells import CellFile
from crucibench.util.errors import NotComparableError
from crucibench.util.hashing import differing_fields

SAMPLES = frozenset({"data", "ids"})
"""The fields that say which samples were asked about: an intersection may ignore them."""


def differing(a: CellFile, b: CellFile, *, ignore: Collection[str] = ()) -> list[str]:
    """Returns the fields of the comparison key in which two cells differ, less those ignored."""
    return [
        name
        for name in differing_fields(a.comparison, b.comparison)
        if name.partition(".")[0] not in ignore
    ]


def require_comparable(a: CellFile, b: CellFile, *, intersect: bool = False) -> None:
    """Refuses two cells that measure different things.

    Args:
        a: one cell.
        b: another.
        intersect: whether different samples are fine, since only the common ones are compared.

    Raises:
        NotComparableError: names the first field that differs, and both its values.
    """
    names = differing(a, b, ignore=SAMPLES if intersect else ())
    if not names:
        return
    name = names[0]
    more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    raise NotComparableError(
        f"{a.model} and {b.model} on {a.suite}/{a.scenario} are not comparable: {name} is "
        f"{_value(a, name)!r} and {_value(b, name)!r}{more}"
    )


def _value(cell: CellFile, name: str) -> object:
    value: object = cell.comparison
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
