"""What was changed in a text or in a row of a table."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from crucibench.report.format import show_plain
from crucibench.report.samples import Piece
from crucibench.util.text import shorten

_TOKEN = re.compile(r"\s+|\w+|[^\w\s]")
_AROUND = 12
"""Words and signs that are shown on either side of an edit."""

_MOST_PIECES = 80
_LONGEST = 160

GAP = Piece(text=" … ", kind="gap")


def edited(before: str | None, after: str | None) -> list[Piece]:
    """Returns a changed text with its edits marked; what lies far from them is left out."""
    if before is None or after is None:
        return [_piece(one, kind) for one, kind in ((before, "taken-out"), (after, "put-in"))
                if one is not None]  # fmt: skip
    if before == after:
        return whole(after)
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    pieces: list[Piece] = []
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    steps = matcher.get_opcodes()
    for place, (kind, start, stop, first, last) in enumerate(steps):
        if kind == "equal":
            pieces += _context(new[first:last], first=place == 0, last=place == len(steps) - 1)
            continue
        pieces += [_piece("".join(old[start:stop]), "taken-out")] if stop > start else []
        pieces += [_piece("".join(new[first:last]), "put-in")] if last > first else []
    return pieces if len(pieces) <= _MOST_PIECES else [*pieces[:_MOST_PIECES], GAP]


def whole(text: str | None) -> list[Piece]:
    """Returns a text as it is, its middle left out where it is long."""
    if text is None:
        return [Piece(text="missing", kind="gap")]
    tokens = _TOKEN.findall(text)
    if len(tokens) <= 8 * _AROUND:
        return [_piece(text)]
    return [_piece("".join(tokens[: 6 * _AROUND])), GAP, _piece("".join(tokens[-2 * _AROUND :]))]


def changed_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns the columns in which some row differs from the first, in their order."""
    first = rows[0]
    return [name for name in first if any(row.get(name) != first[name] for row in rows[1:])]


def cells_of(name: str, rows: Sequence[Mapping[str, Any]]) -> list[Piece]:
    """Returns a column of some rows; a value other than the first row's is marked."""
    first = rows[0][name]
    return [
        Piece(text=_value(row.get(name)), kind="same" if row.get(name) == first else "put-in")
        for row in rows
    ]


def _context(tokens: Sequence[str], *, first: bool, last: bool) -> list[Piece]:
    """Returns a stretch that was left as it was; the middle of a long one is left out."""
    before = 0 if first else _AROUND
    after = 0 if last else _AROUND
    if len(tokens) <= before + after + _AROUND:
        return [_piece("".join(tokens))]
    ends = (tokens[:before], tokens[len(tokens) - after :] if after else [])
    start, stop = ("".join(end) for end in ends)
    return [
        *([_piece(start)] if start else []), GAP, *([_piece(stop)] if stop else []),
    ]  # fmt: skip


def _piece(text: str, kind: Any = "same") -> Piece:
    # A word may be as long as its text.
    return Piece(text=shorten(text, 8 * _LONGEST if kind == "same" else _LONGEST), kind=kind)


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return show_plain(value) if isinstance(value, int | float) else shorten(str(value), _LONGEST)
