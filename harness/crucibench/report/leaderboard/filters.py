"""Which lines of a board are asked for."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from crucibench.report.leaderboard.columns import sort_column
from crucibench.report.leaderboard.lines import FIELDS
from crucibench.report.leaderboard.model import Column, Line
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown

NAMES = ("model", "run", "group", *FIELDS)
"""What a pattern may be held against, besides numbers."""

_COMPARES: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
_FORM = re.compile(r"(?P<left>.+?)(?P<sign>>=|<=|!=|>|<|=)(?P<right>.*)", re.DOTALL)


class Filter(NamedTuple):
    """One condition: ``NAME=PATTERN``, ``NAME!=PATTERN``, or ``ADDRESS>=NUMBER``."""

    left: str
    sign: str
    right: str


def parse_filter(text: str) -> Filter:
    """Parses a condition.

    Raises:
        InputError: if it is none.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise InputError(
            f"filter {text!r}: expected NAME=PATTERN, NAME!=PATTERN or ADDRESS>=NUMBER (or <=, >, "
            f"<), NAME one of {', '.join(NAMES)}"
        )
    left, sign, right = match["left"].strip(), match["sign"], match["right"].strip()
    if sign in _COMPARES:
        if not isinstance(parse_number(right), float):
            raise InputError(f"filter {text!r}: expected a number after {sign}, got {right!r}")
    elif left not in NAMES:
        raise InputError(f"filter {text!r}: {unknown('name', left, NAMES)}")
    return Filter(left, sign, right)


def asked_for(
    filters: Sequence[Filter], columns: Sequence[Column], present: Sequence[Column]
) -> Callable[[Line], bool]:
    """Returns what says whether a line fulfils all conditions.

    A line without the number that a condition names does not fulfil it.

    Args:
        filters: the conditions.
        columns: all columns that were asked for; a condition may name one by the end of its place.
        present: those that the board has.

    Raises:
        InputError: if a condition names no column, or several.
    """
    checks = [_check(one, columns, present) for one in filters]
    return lambda line: all(check(line) for check in checks)


def _check(
    one: Filter, columns: Sequence[Column], present: Sequence[Column]
) -> Callable[[Line], bool]:
    if one.sign in {"=", "!="}:
        wanted = one.sign == "="
        return lambda line: (
            wanted is any(fnmatchcase(text, one.right) for text in _texts(line, one.left))
        )
    column = sort_column(one.left, columns)
    assert column is not None
    compare, bound, place = _COMPARES[one.sign], float(parse_number(one.right)), column.place
    if place not in {other.place for other in present}:
        return lambda line: False

    def holds(line: Line) -> bool:
        number = line.entries[place].number
        return number is not None and number.value is not None and compare(number.value, bound)

    return holds


def _texts(line: Line, name: str) -> Sequence[str]:
    if name == "model":
        return (line.model, line.label)
    if name == "run":
        return line.runs
    if name == "group":
        return (line.about.group,)
    return (line.about.card.get(name, ""),)
