"""Samples that can't be used: counted, named, and refused or left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from crucibench.contracts.source import LeftOut
from crucibench.util.errors import InputError

NAMED = 3
"""How many bad samples of a role are named; all are counted."""

WAY_OUT = "; on_bad_sample=skip leaves such samples out"
"""The end of a sentence that refuses data for its bad samples."""


class BadSampleError(InputError):
    """One sample can't be used.

    Attributes:
        kind: what is wrong, as counts are kept of it: ``damaged image``.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class BadSampleTally:
    """Counts bad samples and keeps the sentences of the first few: O(1) memory."""

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self.first: list[str] = []

    def add(self, kind: str, sentence: str) -> None:
        """Counts one."""
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        if len(self.first) < NAMED:
            self.first.append(sentence)

    def left_out(self) -> LeftOut:
        """Returns what was counted."""
        return LeftOut(kinds=dict(self.kinds), first=tuple(self.first))


def joined(*parts: LeftOut) -> LeftOut:
    """Returns the bad samples of several passes as one."""
    kinds: dict[str, int] = {}
    for part in parts:
        for kind, count in part.kinds.items():
            kinds[kind] = kinds.get(kind, 0) + count
    return LeftOut(kinds=kinds, first=tuple(one for part in parts for one in part.first)[:NAMED])


def plain(left_out: LeftOut) -> dict[str, Any]:
    """Returns bad samples as plain data, as a conversion keeps them."""
    return {"kinds": dict(left_out.kinds), "first": list(left_out.first)}


def from_plain(data: Mapping[str, Any]) -> LeftOut:
    """The inverse of `plain`."""
    return LeftOut(kinds=data["kinds"], first=tuple(data["first"]))


def refuse(left_out: LeftOut, role: str, of: int, on_bad_sample: Literal["error", "skip"]) -> None:
    """Raises InputError where bad samples may not be left out, or where nothing else is left.

    Args:
        left_out: the bad samples of the role.
        role: which one.
        of: how many samples it has, the bad ones among them.
        on_bad_sample: what is to become of them.
    """
    count = left_out.count
    if not count or (on_bad_sample == "skip" and count < of):
        return
    way_out = "" if on_bad_sample == "skip" else WAY_OUT
    raise InputError(
        f"{count:,} of {of:,} samples of {role} can't be used: {_named(left_out)}{way_out}"
    )


def note(left_out: LeftOut, role: str, of: int) -> str:
    """Returns the card's sentence about the samples that were left out."""
    kinds = ", ".join(f"{kind}: {count:,}" for kind, count in sorted(left_out.kinds.items()))
    verb = "is" if left_out.count == 1 else "are"
    return (
        f"{left_out.count:,} of {of:,} samples of {role} {verb} left out ({kinds}): "
        f"{_named(left_out)}"
    )


def _named(left_out: LeftOut) -> str:
    more = left_out.count - len(left_out.first)
    return "; ".join(left_out.first) + (f"; and {more:,} more" if more else "")
