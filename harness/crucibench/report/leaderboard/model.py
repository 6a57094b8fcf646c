"""What a leaderboard holds: boards of columns and lines, and what stands apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from crucibench.contracts.rows import MetricRow
from crucibench.report.format import direction_mark, direction_words
from crucibench.report.numbers import ShownMetric, ShownNumber, shown
from crucibench.report.reported import Reported


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a board.

    Attributes:
        place: ``SUITE/SCENARIO[POINT]/METRIC[@GROUP]``: its address, of any model.
        axis: the suite's axis: columns of one axis stand under one head.
        metric: what is measured.
        context: scenario, point and group where the metric's name alone does not identify the
            column, else "".
    """

    place: str
    axis: str
    metric: ShownMetric
    context: str = ""

    @property
    def title(self) -> str:
        """What it measures, as other columns don't."""
        return f"{self.metric.name} ({self.context})" if self.context else self.metric.name

    @property
    def heading(self) -> str:
        """Its title with unit and direction."""
        unit = f" [{self.metric.shown_unit}]" if self.metric.shown_unit else ""
        return f"{self.title}{unit} {direction_mark(self.metric.direction)}".rstrip()

    @property
    def words(self) -> str:
        """Which way is better, in words."""
        return direction_words(self.metric.direction)


@dataclass(frozen=True, kw_only=True)
class BoardCell:
    """What stands in one place of a board.

    Attributes:
        number: the metric row, perhaps null with its reason; None where nothing was measured or
            the number may not stand here.
        shown: it as text, or why nothing stands here.
        findings: codes and messages of the audits behind a verdict that is not valid.
    """

    number: MetricRow | None
    shown: ShownNumber
    findings: tuple[str, ...] = ()

    @classmethod
    def empty(cls, why: str, *, apart: bool = False) -> BoardCell:
        """Returns a place without a number; `apart` where there is one that is listed apart."""
        return cls(number=None, shown=ShownNumber(reason=why, apart=apart))


class Retired(NamedTuple):
    """A row that no longer counts: it stays, without a rank, and says why.

    Attributes:
        kind: ``withdrawn`` or ``superseded``.
        reason: why.
        by: what stands for a superseded row; "" where it is not known.
    """

    kind: str
    reason: str
    by: str = ""

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        return f"{self.kind}{by}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class About:
    """What is known of a line's model beside its numbers.

    Attributes:
        card: fields of its model card, as texts.
        group: what models that differ by training seed alone share; "" for none.
        variant_of: the model that it is a form of: as declared under ``variants``, or as its card
            says; "" for a model of its own.
        trained_on_test: the entry of the card's trained_on that names the data set of the board.
        retired: why the row no longer counts; None where it does.
    """

    card: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    variant_of: str = ""
    trained_on_test: str = ""
    retired: Retired | None = None


@dataclass(frozen=True, kw_only=True)
class Line:
    """One model of a board.

    Attributes:
        label: its name, with the run's id where names alone do not identify lines.
        model: its name.
        runs: the ids of the runs that its numbers come from.
        entries: by the place of the column; one for each.
        about: what is known of the model.
        under: the label of the line that stands for its model, where it is a variant; else "".
    """

    label: str
    model: str
    runs: tuple[str, ...]
    entries: Mapping[str, BoardCell]
    about: About = field(default_factory=About)
    under: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is a rival: neither a variant nor a row that no longer counts."""
        return not self.under and self.about.retired is None

    @property
    def name(self) -> str:
        """Its label with the marks of rows."""
        mark = " ‡" if self.about.trained_on_test else ""
        gone = f" ({self.about.retired.kind})" if self.about.retired else ""
        return f"{'↳ ' if self.under else ''}{self.label}{mark}{gone}"


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
    number: MetricRow
    differs: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Why it stands apart."""
        return f"differs in {', '.join(self.differs)}"

    @property
    def shown(self) -> ShownNumber:
        """The number as text."""
        return shown(self.column.metric, self.number)


class Spread(NamedTuple):
    """A number of a column over models that differ by their training seed alone.

    Attributes:
        group: what they share.
        column: the column.
        seeds: how many models.
        mean: of their values.
        deviation: the standard deviation between them, n - 1.
        lowest: value.
        highest: value.
        half_width: the mean half-width of their own intervals, which cover samples; None without.
        interval: of the recipe, for other trainings and other samples; None where all these models
            are not the trainings of one run.
        training: the variance between trainings, without what samples add; 0 where not known.
    """

    group: str
    column: Column
    seeds: int
    mean: float
    deviation: float
    lowest: float
    highest: float
    half_width: float | None
    interval: tuple[float, float] | None = None
    training: float = 0.0


class Span(NamedTuple):
    """The ranks that a model may have in a column; models of one `lower` share a rank group."""

    lower: int
    upper: int

    def __str__(self) -> str:
        return str(self.lower) if self.lower == self.upper else f"{self.lower}\u2013{self.upper}"


class Estimate(NamedTuple):
    """A number over columns with its interval; all intervals of a board hold together."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A model over the columns that all ranked models share.

    Attributes:
        label: the model, as lines are labelled.
        mean_rank: the mean of its ranks, weighted by the columns' votes.
        win_rate: the mean share of the others that it beats: the same, on the scale from 0 to 1.
        on_front: whether no other model is as good on every axis and better on one; None where
            there are not two axes to weigh, or it lacks a number there.
    """

    label: str
    mean_rank: Estimate
    win_rate: Estimate
    on_front: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """The ranks on a board.

    Attributes:
        spans: place of a column, then label of a line.
        unranked: why a column has no ranks.
        standings: the best mean rank first; empty without a column that all ranked models share.
        votes: place of a column that all ranked models share, and its share of the mean rank.
        lacking: place of a ranked column that isn't shared, and the labels of those without it.
        front: the columns that the Pareto front weighs.
        not_resampled: why only shares of samples are tested, "" where all numbers are.
    """

    spans: Mapping[str, Mapping[str, Span]] = field(default_factory=dict)
    unranked: Mapping[str, str] = field(default_factory=dict)
    standings: tuple[Standing, ...] = ()
    votes: Mapping[str, float] = field(default_factory=dict)
    lacking: Mapping[str, Sequence[str]] = field(default_factory=dict)
    front: tuple[Column, ...] = ()
    not_resampled: str = ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """The models of one data set.

    Attributes:
        data: its name.
        columns: those in which at least one model has a row.
        lines: sorted, variants after the line of their model.
        apart: what could not be joined.
        sorted_by: the column's place, "" if there are no columns.
        ranks: which models are distinguished; None where they were not asked for.
        spreads: between the training seeds of a group.
        left_out: sentences on columns whose records the installed scenarios can't read.
        baselines: trivial predictors, which take part in no rank: name, and a number a column.
    """

    data: str
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    apart: tuple[Apart, ...] = ()
    sorted_by: str = ""
    ranks: Ranks | None = None
    spreads: tuple[Spread, ...] = ()
    left_out: tuple[str, ...] = ()
    baselines: tuple[tuple[str, Sequence[ShownNumber]], ...] = ()

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the intervals shown, ascending."""
        return tuple(sorted({number.level for number in self.numbers() if number.level}))

    @property
    def axes(self) -> list[tuple[str, int]]:
        """The axes of the columns, in order, each with how many stand under it."""
        found = groupby(self.columns, key=lambda column: column.axis)
        return [(axis, len(list(columns))) for axis, columns in found]

    def numbers(self) -> list[MetricRow]:
        """Returns all joined numbers, line by line."""
        cells = [line.entries[column.place] for line in self.lines for column in self.columns]
        return [cell.number for cell in cells if cell.number is not None]

    def span(self, place: str, label: str) -> Span | None:
        """Returns a line's ranks in a column; None where it has none."""
        return None if self.ranks is None else self.ranks.spans.get(place, {}).get(label)


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """One board a data set.

    Attributes:
        boards: of what was measured.
        runs: their ids.
        reported: what other tools' files state. It has no part in the boards.
    """

    boards: tuple[Board, ...]
    runs: tuple[str, ...] = ()
    reported: tuple[Reported, ...] = ()
