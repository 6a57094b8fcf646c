"""The leaderboard: models of one or several runs side by side, where they may stand so.

One board a data set: rows are models, columns the addresses that suites name as their headline.
In each column only numbers of one comparison key are joined; the others are listed apart with the
field that differs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from crucibench.contracts.rows import Address, parse_address
from crucibench.contracts.verdict import Status, Verdict
from crucibench.report.findings import address_of
from crucibench.report.numbers import (
    Metric,
    Number,
    declared_metrics,
    metric_of,
    names_in_order,
    numbers_of,
    place,
)
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, differing_fields
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    import pandas as pd

    from crucibench.store.run import Run


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a board.

    Attributes:
        place: ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]``: its address, of any model.
        axis: the suite's axis: columns of one axis stand under one head.
        metric: what is measured.
        context: scenario, point and group where the metric's name alone would not tell columns
            apart, else "".
    """

    place: str
    axis: str
    metric: Metric
    context: str = ""

    @property
    def title(self) -> str:
        """Its head."""
        return f"{self.metric.name} ({self.context})" if self.context else self.metric.name


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What stands in one place of a board.

    Attributes:
        number: the number, perhaps null with its reason; None where nothing was measured or the
            number may not stand here.
        why: why nothing stands here, where there is no number.
        apart: whether there is a number that is listed apart.
        findings: codes and messages of the audits behind a verdict that is not valid.
    """

    number: Number | None
    why: str = ""
    apart: bool = False
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model of a board.

    Attributes:
        label: its name, with the run's id where names alone would not tell lines apart.
        model: its name.
        runs: the ids of the runs that its numbers come from.
        entries: by the place of the column; one for each.
    """

    label: str
    model: str
    runs: tuple[str, ...]
    entries: Mapping[str, Entry]


@dataclass(frozen=True, kw_only=True)
class Apart:
    """A number that may not be joined with those of its column.

    Attributes:
        label: the model, as lines are labelled.
        column: where it would stand.
        number: the number.
        differs: the fields of the comparison key in which it differs.
    """

    label: str
    column: Column
    number: Number
    differs: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why it stands apart."""
        return f"differs in {', '.join(self.differs)}"


@dataclass(frozen=True, kw_only=True)
class Board:
    """The models of one data set.

    Attributes:
        data: its name.
        columns: those in which at least one model has a row.
        lines: sorted.
        apart: what could not be joined.
        sorted_by: the column's place, "" if there are no columns.
    """

    data: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    apart: tuple[Apart, ...] = ()
    sorted_by: str = ""

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the intervals shown, ascending."""
        return tuple(sorted({number.level for number in self.numbers() if number.level}))

    @property
    def axes(self) -> list[tuple[str, int]]:
        """The axes of the columns, in order, each with how many stand under it."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.axis:
                spans[-1] = (column.axis, spans[-1][1] + 1)
            else:
                spans.append((column.axis, 1))
        return spans

    def numbers(self) -> list[Number]:
        """Returns all joined numbers, line by line."""
        entries = [line.entries[column.place] for line in self.lines for column in self.columns]
        return [entry.number for entry in entries if entry.number is not None]


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """One board a data set."""

    boards: tuple[Board, ...]
    runs: tuple[str, ...] = ()


@dataclass
class _Draft:
    """A line while numbers gather in it."""

    model: str
    identity: str
    numbers: dict[str, Number]
    runs: list[Run] = field(default_factory=list)

    def takes(self, identity: str, numbers: Mapping[str, Number]) -> bool:
        return self.identity == identity and all(
            _same(self.numbers[name], numbers[name]) for name in self.numbers.keys() & numbers
        )


def leaderboard(
    runs: Iterable[Run],
    *,
    sort: str | None = None,
    columns: Sequence[str] | None = None,
    data: Sequence[str] | None = None,
) -> Leaderboard:
    """Joins runs into one board a data set.

    Args:
        runs: any number of runs.
        sort: the place of a column, or the end of one (``top-1``); by default a board's first.
            The best stands first; invalid numbers stand after all others, missing ones last.
        columns: places ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]``; by default what the suites name
            as their headline.
        data: names of data sets; by default all.

    Raises:
        InputError: if a column, the sort column or a data set is not there.
    """
    runs = list(runs)
    wanted = _columns(runs, columns)
    if columns is not None:
        _require_rows(runs, wanted)
    gathered = [(run, numbers_of(run, _headline_rows(run, wanted))) for run in runs]
    found = {number.data for _, numbers in gathered for number in numbers}
    found |= {name for run in runs for _, name in run.models}
    found |= {cell.data for run in runs for cell in run.cells.values()}
    names = _ordered(runs, "data", found)
    for name in data or ():
        if name not in names:
            raise InputError(unknown("data set", name, names))
    if data is not None:
        names = [name for name in names if name in data]
    chosen = _sort_column(sort, wanted)
    boards = [_board(name, gathered, wanted, chosen) for name in names]
    return Leaderboard(boards=tuple(boards), runs=tuple(run.id for run in runs))


def _columns(runs: Sequence[Run], asked: Sequence[str] | None) -> list[Column]:
    axes: dict[str, str] = {}
    headline: dict[str, None] = {}
    metrics: dict[tuple[str, str], Metric] = {}
    for run in runs:
        for suite, info in run.suites.items():
            axes.setdefault(suite, info.get("axis") or suite)
            headline |= {f"{suite}/{entry}": None for entry in info.get("headline", [])}
        metrics = declared_metrics(run.suites) | metrics
    columns = []
    for name in headline if asked is None else dict.fromkeys(asked):
        try:
            address = parse_address(f"any:{name}")
        except ValueError as error:
            raise InputError(
                f"column {name!r}: expected SUITE/SCENARIO[POINT]/METRIC[@GROUP]"
            ) from error
        suite = address.suite
        metric = metrics.get((suite, address.metric)) or Metric(
            suite=suite, id=address.metric, name=address.metric
        )
        columns.append((address, metric, axes.get(suite, suite)))
    return [
        Column(place=place(address), axis=axis, metric=metric, context=_context(address, columns))
        for address, metric, axis in columns
    ]


def _context(address: Address, columns: Sequence[tuple[Address, Metric, str]]) -> str:
    twins = [
        other
        for other, _, _ in columns
        if (other.suite, other.metric) == (address.suite, address.metric) and other != address
    ]
    if not twins:
        return ""
    parts = [
        getattr(address, name)
        for name in ("scenario", "point", "group")
        if any(getattr(twin, name) != getattr(address, name) for twin in twins)
    ]
    return " ".join(part for part in parts if part)


def _require_rows(runs: Sequence[Run], wanted: Sequence[Column]) -> None:
    places = {number.place for run in runs for number in numbers_of(run)}
    for column in wanted:
        if column.place not in places:
            raise InputError(unknown("column", column.place, places))


def _headline_rows(run: Run, wanted: Sequence[Column]) -> pd.DataFrame:
    frame = run.metrics()
    addresses = [parse_address(f"any:{column.place}") for column in wanted]
    keys = {(a.suite, a.scenario, a.point, a.metric, a.group) for a in addresses}
    parts = [frame[name].fillna("") for name in ("suite", "scenario", "point", "metric", "group")]
    wanted_rows = np.fromiter((key in keys for key in zip(*parts, strict=True)), bool, len(frame))
    return frame.loc[wanted_rows]


def _ordered(runs: Sequence[Run], section: str, found: set[str]) -> list[str]:
    names: dict[str, None] = {}
    for run in runs:
        stems = {entry.get("name", "") for entry in run.spec.get(section) or []}
        own = {name for name in found if name in stems or name.rpartition("@")[0] in stems}
        names |= dict.fromkeys(names_in_order(run.spec, section, own))
    return list(names | dict.fromkeys(sorted(found)))


def _sort_column(sort: str | None, wanted: Sequence[Column]) -> Column | None:
    if sort is None:
        return None
    exact = [column for column in wanted if column.place == sort]
    fitting = exact or [column for column in wanted if column.place.endswith(f"/{sort}")]
    if not fitting:
        raise InputError(unknown("column", sort, [column.place for column in wanted]))
    if len(fitting) > 1:
        names = ", ".join(column.place for column in fitting)
        raise InputError(f"column {sort!r} fits several: {names}")
    return fitting[0]


def _board(
    data: str,
    gathered: Sequence[tuple[Run, Sequence[Number]]],
    wanted: Sequence[Column],
    chosen: Column | None,
) -> Board:
    drafts = _drafts(data, gathered)
    labels = _labels(drafts)
    columns = tuple(
        column for column in wanted if any(column.place in draft.numbers for draft in drafts)
    )
    joined = {column.place: _joined(column, drafts) for column in columns}
    apart = [
        Apart(
            label=label,
            column=column,
            number=draft.numbers[column.place],
            differs=_differing(draft, drafts, column, joined[column.place]),
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
                column.place: _entry(column, draft, data, joined[column.place])
                for column in columns
            },
        )
        for draft, label in zip(drafts, labels, strict=True)
    ]
    # A model all of whose numbers stand apart has no line of its own.
    lines = [
        line
        for line in lines
        if not any(entry.apart for entry in line.entries.values())
        or any(entry.number is not None for entry in line.entries.values())
    ]
    order = chosen if chosen in columns else columns[0] if columns else None
    if order is not None:
        lines.sort(key=lambda line: _rank(line.entries[order.place], order.metric.direction))
    return Board(
        data=data,
        columns=columns,
        lines=tuple(lines),
        apart=tuple(apart),
        sorted_by=order.place if order else "",
    )


def _drafts(data: str, gathered: Sequence[tuple[Run, Sequence[Number]]]) -> list[_Draft]:
    drafts: list[_Draft] = []
    for run, numbers in gathered:
        by_model: dict[str, dict[str, Number]] = {}
        for number in numbers:
            if number.data == data:
                by_model.setdefault(number.model, {})[number.place] = number
        found = set(by_model) | {model for model, name in run.models if name == data}
        found |= {cell.model for cell in run.cells.values() if cell.data == data}
        for model in names_in_order(run.spec, "models", found):
            own = by_model.get(model, {})
            identity = _identity(run, model, data)
            for draft in drafts:
                if draft.model == model and draft.takes(identity, own):
                    draft.numbers |= own
                    draft.runs.append(run)
                    break
            else:
                drafts.append(_Draft(model, identity, dict(own), [run]))
    return drafts


def _identity(run: Run, model: str, data: str) -> str:
    # Without a fingerprint nobody can tell whether the model of another run is the same.
    info = run.models.get((model, data))
    if info is None or info.fingerprint is None:
        return f"run {run.root}"
    return data_digest(dict(info.fingerprint))


def _same(a: Number, b: Number) -> bool:
    return (a.value, a.lower, a.upper, a.n, a.key) == (b.value, b.lower, b.upper, b.n, b.key)


def _labels(drafts: Sequence[_Draft]) -> list[str]:
    counts = Counter(draft.model for draft in drafts)
    return [
        draft.model if counts[draft.model] == 1 else f"{draft.model} ({draft.runs[0].id})"
        for draft in drafts
    ]


def _joined(column: Column, drafts: Sequence[_Draft]) -> str:
    keys = [draft.numbers[column.place].key for draft in drafts if column.place in draft.numbers]
    counts = Counter(keys)
    return max(keys, key=lambda key: (counts[key], -keys.index(key)))


def _differing(
    draft: _Draft, drafts: Sequence[_Draft], column: Column, joined: str
) -> tuple[str, ...]:
    fields = _comparison(draft, column)
    for other in drafts:
        number = other.numbers.get(column.place)
        if number is not None and number.key == joined:
            names = differing_fields(_comparison(other, column), fields)
            return tuple(names) or ("the metric's version or the scoring options",)
    raise AssertionError("a joined key belongs to a number")


def _comparison(draft: _Draft, column: Column) -> dict[str, object]:
    number = draft.numbers[column.place]
    for run in draft.runs:
        if run.id == number.run and number.cell in run.cells:
            return dict(run.cells[number.cell].comparison)
    return {}


def _entry(column: Column, draft: _Draft, data: str, joined: str) -> Entry:
    number = draft.numbers.get(column.place)
    if number is None:
        return Entry(number=None, why=_why_missing(column, draft, data))
    if number.key != joined:
        return Entry(number=None, why="not comparable, listed apart", apart=True)
    if number.verdict is Verdict.VALID:
        return Entry(number=number)
    findings = tuple(
        f"{finding.code}: {finding.message}"
        for run in draft.runs
        if run.id == number.run and number.cell in run.cells
        for finding in run.cells[number.cell].findings
        if finding.severity != "info"
    )
    return Entry(number=number, findings=findings)


def _why_missing(column: Column, draft: _Draft, data: str) -> str:
    address = parse_address(f"any:{column.place}")
    for run in draft.runs:
        for cell in run.cells.values():
            if (cell.model, cell.data, address_of(cell)) != (
                draft.model, data, f"{address.suite}/{address.scenario}"
            ):  # fmt: skip
                continue
            if cell.status is Status.OK:
                return "the cell reports no such number"
            return f"{cell.status}: {cell.reason}"
    return "not run"


def _rank(entry: Entry, direction: str) -> tuple[int, float]:
    number = entry.number
    if number is None or number.value is None:
        return 2, 0.0
    value = number.value
    if direction.startswith("target="):
        key = abs(value - float(direction.removeprefix("target=")))
    else:
        key = value if direction == "lower" else -value
    return int(number.verdict is Verdict.INVALID), math.inf if math.isnan(key) else key


def shown_metric(column: Column, number: Number) -> Metric:
    """Returns the metric by which a number of a column is written."""
    return metric_of({(column.metric.suite, column.metric.id): column.metric}, number)
