"""What is asked of boards: columns, by default the suites' headlines, and filters of lines."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import pyarrow as pa

from crucibench.contracts.rows import Address, MetricRow, parse_address
from crucibench.report.leaderboard.lines import FIELDS
from crucibench.report.leaderboard.model import Column, Line
from crucibench.report.numbers import ShownMetric, declared_metrics, number_of, numbers_of
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown

Gathered = tuple[list[Column], list[list[MetricRow]]]
"""Columns, and for each run its numbers that belong to one."""

_PLACE = Address._fields[1:]


def gather(runs: Sequence[Run], asked: Sequence[str] | None = None) -> Gathered:
    """Returns the columns asked for, by default the headline of each suite, and their numbers.

    Every run is read once, and no more is kept of it than the numbers of the columns.

    Returns:
        The columns; and for each run its numbers that belong to one, in their stored order.

    Raises:
        InputError: if what is asked for is no address, or no run has a number of it.
    """
    axes: dict[str, str] = {}
    headline: dict[str, None] = {}
    metrics: dict[tuple[str, str], ShownMetric] = {}
    for run in _of_other_suites(runs):
        for suite, info in run.suites.items():
            axes.setdefault(suite, info.get("axis") or suite)
            headline |= {f"{suite}/{entry}": None for entry in info.get("headline", [])}
        metrics = declared_metrics(run.suites) | metrics
    wanted = {_parsed(name): None for name in (headline if asked is None else asked)}
    numbers = [_numbers_of(run, wanted) for run in runs]
    measured = {number.address[1:] for own in numbers for number in own}
    if asked is not None:
        _require(runs, [address for address in wanted if address[1:] not in measured])
    # A metric that was not measured needs no column, and no context to distinguish it.
    found = [
        (
            address,
            metrics.get((address.suite, address.metric))
            or ShownMetric(suite=address.suite, id=address.metric, name=address.metric),
            axes.get(address.suite, address.suite),
        )
        for address in wanted
        if address[1:] in measured
    ]
    columns = [
        Column(place=address.place, axis=axis, metric=metric, context=_context(address, found))
        for address, metric, axis in found
    ]
    return columns, numbers


def _of_other_suites(runs: Sequence[Run]) -> list[Run]:
    """Returns the first run of each form of ``suites.json``: runs of one version share theirs."""
    first: dict[str, Run] = {}
    for run in runs:
        name = run.layout.suites.relative_to(run.root).as_posix()
        stated = run.manifest["files"].get(name, "") if run.finished else ""
        first.setdefault(stated or str(run.root), run)
    return list(first.values())


def _parsed(name: str) -> Address:
    try:
        return parse_address(f"any:{name}")
    except ValueError as error:
        raise InputError(
            f"column {name!r}: expected SUITE/SCENARIO[POINT]/METRIC[@GROUP]"
        ) from error


def _numbers_of(run: Run, wanted: Collection[Address]) -> list[MetricRow]:
    """Returns a run's numbers at these addresses, of any model."""
    table = run.metric_table()
    # Most rows are of no column: only those that are become objects.
    places = {address[1:] for address in wanted}
    measured = zip(*(table[name].to_pylist() for name in _PLACE), strict=True)
    rows = [row for row, names in enumerate(measured) if names in places]
    chosen = table.take(pa.array(rows, pa.int64()))
    return [number_of(entry, run.id) for entry in chosen.to_pylist()]


def _require(runs: Sequence[Run], missing: Sequence[Address]) -> None:
    """Raises `InputError` for the first address that no run has a number of."""
    for address in missing:
        places = {number.place for run in runs for number in numbers_of(run)}
        raise InputError(unknown("column", address.place, places))


def _context(address: Address, columns: Sequence[tuple[Address, ShownMetric, str]]) -> str:
    others = [
        other
        for other, _, _ in columns
        if (other.suite, other.metric) == (address.suite, address.metric) and other != address
    ]
    if not others:
        return ""
    parts = [
        getattr(address, name)
        for name in ("scenario", "point", "group")
        if any(getattr(other, name) != getattr(address, name) for other in others)
    ]
    return " ".join(part for part in parts if part)


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
