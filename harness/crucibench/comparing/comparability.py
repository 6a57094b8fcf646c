"""Which cells may be set side by side, and which field forbids it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from crucibench.contracts.data import DataCard
from crucibench.store.cells import CellFile
from crucibench.util.hashing import differing_fields

SAMPLES = frozenset({"data", "ids", "role_fingerprints"})
"""The fields that say which samples were asked about: an intersection may ignore them."""

_OF_THE_DATA = ("task", "cluster", "target", "counts", "features", "ids_digest")
"""What is compared of two data sets that differ, the most informative first."""


@dataclass(frozen=True)
class Difference:
    """A field in which two cells differ.

    Attributes:
        field: its dotted name.
        first: its value on one side.
        second: on the other.
        more: how many other fields differ.
        where: the cells.
    """

    field: str
    first: object
    second: object
    more: int = 0
    where: str = "they"

    def __str__(self) -> str:
        more = f" (and {self.more} more)" if self.more else ""
        return (
            f"{self.where} are not comparable: {self.field} is {self.first!r} and "
            f"{self.second!r}{more}"
        )


def differing(a: CellFile, b: CellFile, *, ignore: Collection[str] = ()) -> list[str]:
    """Returns the fields of the comparison key in which two cells differ, less those ignored."""
    return [
        name
        for name in differing_fields(a.comparison, b.comparison)
        if name.partition(".")[0] not in ignore
    ]


def first_difference(
    a: CellFile,
    b: CellFile,
    cards: tuple[DataCard | None, DataCard | None] = (None, None),
    *,
    intersect: bool = False,
) -> Difference | None:
    """Returns the field that forbids setting two cells side by side, or None.

    Args:
        a: one cell.
        b: another.
        cards: the cards of their data: where the data differ, they say in what.
        intersect: whether different samples are fine, since only the common ones are compared.
    """
    where = f"{a.model} and {b.model} on {a.suite}/{a.scenario}"
    names = differing(a, b, ignore=SAMPLES if intersect else ())
    in_data = _of_cards(*cards)
    if in_data is not None and in_data[0] == "task":
        # Whatever is intersected: a class index means something else.
        return Difference("data.task", *in_data[1:], 0, where)
    if not names:
        return None
    name, more = names[0], len(names) - 1
    if name == "data" and in_data is not None:
        return Difference(f"data.{in_data[0]}", *in_data[1:], more, where)
    first, second = _value(a, name), _value(b, name)
    if name == "groups" and cards[0] is not None and cards[1] is not None:
        # By name, where that tells them apart: digests say nothing to people.
        first, second = str(first)[:12], str(second)[:12]
        if cards[0].groups != cards[1].groups:
            first, second = list(cards[0].groups), list(cards[1].groups)
    return Difference(name, first, second, more, where)


def _of_cards(a: DataCard | None, b: DataCard | None) -> tuple[str, object, object] | None:
    if a is None or b is None or a.fingerprint == b.fingerprint:
        return None
    first, second = a.as_dict(), b.as_dict()
    for name in _OF_THE_DATA:
        if first[name] != second[name]:
            return name, first[name], second[name]
    return None


def _value(cell: CellFile, name: str) -> object:
    value: object = cell.comparison
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
