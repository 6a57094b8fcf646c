"""Builds the boards: what stands in each place of each, and why nothing does."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import pyarrow as pa

from crucibench.contracts.rows import Address, MetricRow, parse_address
from crucibench.contracts.verdict import Status, Verdict
from crucibench.report.findings import address_of
from crucibench.report.format import listed, show_count, show_number
from crucibench.report.leaderboard.lines import (
    FIELDS,
    LineDraft,
    LinePart,
    about,
    differing,
    drafts_of,
    joined_key,
    labels_of,
    parts_of,
    recipes_in,
    spreads_of,
    under_models,
)
from crucibench.report.leaderboard.model import (
    Apart,
    Board,
    BoardCell,
    Column,
    Leaderboard,
    Line,
    Ranks,
)
from crucibench.report.leaderboard.ranks import rankable_of, ranks_of
from crucibench.report.numbers import (
    ShownMetric,
    ShownNumber,
    declared_metrics,
    names_in_order,
    number_of,
    numbers_of,
    shown,
)
from crucibench.spec.notes import Notes, RowNote
from crucibench.store.documents import read_document
from crucibench.store.run import Run
from crucibench.util.errors import InputError, UnreadableError
from crucibench.util.numbers import parse_number
from crucibench.util.suggest import unknown

_Place = tuple[str, str]
"""The id of a run, and that of one of its cells."""


def leaderboard(
    runs: Iterable[Run],
    *,
    sort: str | None = None,
    columns: Sequence[str] | None = None,
    data: Sequence[str] | None = None,
    ranked: bool = False,
    filters: Sequence[str] = (),
    notes: Notes | None = None,
    gathered: Gathered | None = None,
) -> Leaderboard:
    """Joins runs into one board a data set.

    Args:
        runs: any number of runs.
        sort: the place of a column, or the end of one (``top-1``); by default a board's first.
            The best stands first; invalid numbers stand after all others, missing ones last.
        columns: places ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]``; by default what the suites name
            as their headline.
        data: names of data sets; by default all.
        ranked: whether ranks are computed, which reads records.
        filters: conditions that a line must fulfil (`filters.parse_filter`).
        notes: rows that no longer count: they stand after all others, unranked, with the reason.
        gathered: what `columns.gather` found of these runs, where it was asked already.

    Raises:
        InputError: if a column, the sort column or a data set is not there, a filter is none, or
            two runs have one id.
    """
    by_id = distinct(runs)
    runs = list(by_id.values())
    conditions = [parse_filter(text) for text in filters]
    wanted, numbers = gathered or gather(runs, columns)
    parts = parts_of(runs, numbers)
    names = [name for name in _data_in_order(runs, set(parts)) if name in parts]
    called = {part.data: name for name, own in parts.items() for part in own}
    for name in data or ():
        if name not in called:
            raise InputError(unknown("data set", name, called))
    if data is not None:
        names = [name for name in names if name in {called[one] for one in data}]
    asked = _Asked(
        wanted, sort_column(sort, wanted), conditions, [] if notes is None else notes.rows
    )
    boards = [_board(name, parts.get(name, []), asked, {}) for name in names]
    if ranked:
        boards = _with_ranks(boards, asked, by_id, numbers)
    boards = [replace(board, baselines=baselines_of(board, runs)) for board in boards]
    return Leaderboard(boards=tuple(boards), runs=tuple(run.id for run in runs))


class _Asked(NamedTuple):
    """What a board is made by.

    Attributes:
        columns: all that were asked for.
        sort: the one to sort by; None for a board's first.
        conditions: that lines fulfil.
        notes: on rows that no longer count.
    """

    columns: Sequence[Column]
    sort: Column | None
    conditions: Sequence[Filter]
    notes: Sequence[RowNote]


def _with_ranks(
    boards: Sequence[Board], asked: _Asked, runs: Mapping[str, Run],
    numbers: Sequence[Sequence[MetricRow]],
) -> list[Board]:  # fmt: skip
    """Returns boards with ranks, and without numbers that the installed scenarios can't read."""
    found = [rankable_of(board) for board in boards]
    if not any(rankable.columns for rankable in found):
        pairs = zip(boards, found, strict=True)
        return [replace(board, ranks=Ranks(unranked=one.refused)) for board, one in pairs]
    # Reading records takes the engine, which a board without ranks does not load.
    from crucibench.comparing.columns import LineUp

    line_up = LineUp()
    left: dict[_Place, str] = {}
    for run, own in zip(runs.values(), numbers, strict=True):
        for cell in dict.fromkeys(number.cell for number in own if number.cell in run.cells):
            if why := line_up.unreadable(run, cell):
                left[run.id, cell] = why
    if left:
        kept = [[one for one in own if (one.run, one.cell) not in left] for own in numbers]
        parts = parts_of(runs.values(), kept)
        boards = [_board(one.data, parts.get(one.data, []), asked, left) for one in boards]
        boards = [
            replace(one, left_out=_left_out(one, asked.columns, numbers, left)) for one in boards
        ]
    return [
        replace(board, ranks=ranks_of(board, rankable_of(board), runs, line_up)) for board in boards
    ]


def _left_out(
    board: Board, columns: Sequence[Column], numbers: Sequence[Sequence[MetricRow]],
    left: Mapping[_Place, str],
) -> tuple[str, ...]:  # fmt: skip
    """Returns a sentence on the columns of which nothing is left; other dashes say why."""
    shown = {column.place for column in board.columns}
    why: dict[str, str] = {}
    for one in (number for own in numbers for number in own if number.data == board.data):
        if one.place not in shown and (one.run, one.cell) in left:
            why[one.place] = left[one.run, one.cell]
    together: dict[str, list[str]] = {}
    for column in columns:
        if column.place in why:
            together.setdefault(why[column.place], []).append(column.title)
    return tuple(
        f"Left out, {listed(titles)}: {reason}; run the models again."
        for reason, titles in together.items()
    )


def distinct(runs: Iterable[Run]) -> dict[str, Run]:
    """Returns runs by id; one that is given twice, as itself and as its bundle, counts once.

    Raises:
        InputError: if two that are not the same have one id: a number's run would be ambiguous.
    """
    found: dict[str, Run] = {}
    for run in runs:
        first = found.setdefault(run.id, run)
        if first.root != run.root and not (
            first.finished and run.finished and first.digest == run.digest
        ):
            raise InputError(
                f"two runs are called {run.id!r}: {str(first.root)!r} and {str(run.root)!r}; "
                "expected names of their own (a run directory may be renamed)"
            )
    return found


def _board(
    data: str, parts: Sequence[LinePart], asked: _Asked, left: Mapping[_Place, str]
) -> Board:
    wanted, chosen, conditions, notes = asked
    drafts = drafts_of(parts)
    labels = labels_of(drafts)
    columns = tuple(
        column for column in wanted if any(column.place in draft.numbers for draft in drafts)
    )
    # A percentile that no model has enough queries for is no column, where another is there.
    columns = tuple(column for column in columns if _has_value(column, drafts)) or columns
    joined = {column.place: joined_key(column, drafts) for column in columns}
    apart = [
        Apart(
            label=label,
            column=column,
            number=draft.numbers[column.place],
            differs=differing(draft, drafts, column, joined[column.place]),
        )
        for column in columns
        for draft, label in zip(drafts, labels, strict=True)
        if column.place in draft.numbers and draft.numbers[column.place].key != joined[column.place]
    ]
    lines = [
        Line(
            label=label,
            model=draft.model,
            runs=tuple(dict.fromkeys(run.id for run in draft.runs)),
            entries={
                column.place: _cell(column, draft, joined[column.place], left) for column in columns
            },
            about=about(draft, data, notes),
        )
        for draft, label in zip(drafts, labels, strict=True)
    ]
    lines = list(filter(asked_for(conditions, wanted, columns), lines))
    shown = {line.label for line in lines}
    apart = [entry for entry in apart if entry.label in shown]
    # A model all of whose numbers stand apart has no line of its own.
    lines = [
        line
        for line in lines
        if not any(entry.shown.apart for entry in line.entries.values())
        or any(entry.number is not None for entry in line.entries.values())
    ]
    lines = under_models(lines)
    order = chosen if chosen in columns else columns[0] if columns else None
    if order is not None:
        lines.sort(
            key=lambda line: (
                line.about.retired is not None,
                _by_rank(line.entries[order.place], order.metric.direction),
            )
        )
    forms: dict[str, list[Line]] = {}
    for line in lines:
        forms.setdefault(line.under, []).append(line)
    lines = [one for line in forms.get("", []) for one in (line, *forms.get(line.label, []))]
    return Board(
        data=data,
        columns=columns,
        lines=tuple(lines),
        apart=tuple(apart),
        sorted_by=order.place if order else "",
        spreads=spreads_of(columns, lines, recipes_in(parts)),
    )


def _has_value(column: Column, drafts: Iterable[LineDraft]) -> bool:
    numbers = (draft.numbers.get(column.place) for draft in drafts)
    return any(number is not None and number.value is not None for number in numbers)


def _cell(column: Column, draft: LineDraft, joined: str, left: Mapping[_Place, str]) -> BoardCell:
    number = draft.numbers.get(column.place)
    if number is None:
        return BoardCell.empty(_why_missing(column, draft, left))
    if number.key != joined:
        return BoardCell.empty("not comparable, listed apart", apart=True)
    findings = tuple(
        f"{finding.code}: {finding.message}"
        for run in draft.runs
        if number.verdict is not Verdict.VALID and run.id == number.run and number.cell in run.cells
        for finding in run.cells[number.cell].findings
        if finding.severity != "info"
    )
    return BoardCell(number=number, shown=shown(column.metric, number), findings=findings)


def _why_missing(column: Column, draft: LineDraft, left: Mapping[_Place, str]) -> str:
    address = parse_address(f"any:{column.place}")
    for run in draft.runs:
        for cell in run.cells.values():
            if (cell.model, cell.data, address_of(cell)) != (
                draft.model, draft.called[run.id], f"{address.suite}/{address.scenario}"
            ):  # fmt: skip
                continue
            if (run.id, cell.cell) in left:
                return f"left out: {left[run.id, cell.cell]}"
            if cell.status is Status.OK:
                return "the cell reports no such number"
            return f"{cell.status}: {cell.reason}"
    return "not run"


def _data_in_order(runs: Sequence[Run], found: set[str]) -> list[str]:
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


_TRUST = (Verdict.VALID, Verdict.SUSPECT, Verdict.INVALID)


def _by_rank(entry: BoardCell, direction: str) -> tuple[int, float]:
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


def baselines_of(
    board: Board, runs: Iterable[Run]
) -> tuple[tuple[str, Sequence[ShownNumber]], ...]:
    """Returns a board's trivial predictors: each one's name, and a number or dash a column.

    They were scored when the claims of a run were made, on the samples of its first model; of
    several runs the first that has them speaks.
    """
    for run in runs:
        found = [one for one in _stored(run) if one["data"] == board.data]
        if found:
            return tuple(
                (name, [_shown(board, found, name, column.place) for column in board.columns])
                for name in dict.fromkeys(one["baseline"] for one in found)
            )
    return ()


def _stored(run: Run) -> Sequence[dict[str, Any]]:
    # As plain data: what makes claims loads the engine, which a board does not need.
    if run.packed or not run.finished or not run.layout.claims.is_file():
        return []
    try:
        stored = read_document(run.layout.claims)
    except UnreadableError:
        return []  # claims are made again where they are asked for
    return stored.get("baselines", []) if stored.get("of") == run.digest else []


def _shown(board: Board, found: Sequence[dict[str, Any]], name: str, place: str) -> ShownNumber:
    for one in found:
        if (one["baseline"], one["place"]) == (name, place):
            column = next(column for column in board.columns if column.place == place)
            text = show_number(
                one["value"], one["lower"], one["upper"], percent=column.metric.percent
            )
            return ShownNumber(
                value=text.value, interval=text.interval, n=show_count(one["n"]),
                sort=repr(one["value"]),
            )  # fmt: skip
    return ShownNumber(reason="looks at no input: nothing to measure")


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
