"""Ranks of the models of a board: as intervals, since samples decide few of them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.comparing.columns import LineUp
from crucibench.comparing.standing import LinedUp
from crucibench.contracts.rows import parse_address
from crucibench.contracts.verdict import Verdict
from crucibench.report.leaderboard.model import (
    Board,
    BoardCell,
    Column,
    Estimate,
    Line,
    Ranks,
    Span,
    Standing,
)
from crucibench.stats import mean_ranks, rank_sets
from crucibench.stats.rank_sets import of_next_trainings
from crucibench.store.run import Run

LEVEL = 0.95
_REPLICATES = 1000

MOST = 50
"""Most models of a column that are compared pair by pair."""

SIGNS = {"higher": 1, "lower": -1}
"""By direction, what makes a larger value a better one."""


class Rankable(NamedTuple):
    """The columns of a board.

    Attributes:
        columns: those whose records are worth reading, with the lines to be ranked in them.
        refused: why the others are not, by place.
    """

    columns: tuple[tuple[Column, tuple[Line, ...]], ...]
    refused: dict[str, str]


def rankable_of(board: Board) -> Rankable:
    """Returns the columns of a board.

    Only valid numbers have a rank: what an audit found suspect or invalid is shown, marked, and
    compared with nothing. Rows that no longer count have none either, nor have variants: a model
    has one rank, however many forms of it were measured.
    """
    columns, refused = [], {}
    for column in board.columns:
        lines = tuple(line for line in _counting(board) if _ranked(line, column))
        if column.metric.direction not in SIGNS:
            refused[column.place] = "no direction of it is better"
        elif len(lines) < 2:
            refused[column.place] = "fewer than two models have a valid number"
        elif len(lines) > MOST:
            refused[column.place] = (
                f"{len(lines)} models, more than the {MOST} that can be compared"
            )
        else:
            columns.append((column, lines))
    return Rankable(tuple(columns), refused)


def _counting(board: Board) -> tuple[Line, ...]:
    return tuple(line for line in board.lines if line.counts)


def _valid_part(board: Board) -> Board:
    """Returns a board of the valid numbers alone, and of the columns that two of its lines have."""
    lines = tuple(
        replace(
            line,
            entries={
                place: entry if _is_valid(entry) else BoardCell.empty("")
                for place, entry in line.entries.items()
            },
        )
        for line in _counting(board)
    )
    columns = tuple(
        column for column in board.columns if sum(_ranked(line, column) for line in lines) > 1
    )
    return replace(board, lines=lines, columns=columns)


def _ranked(line: Line, column: Column) -> bool:
    return _is_valid(line.entries[column.place])


def _is_valid(entry: BoardCell) -> bool:
    number = entry.number
    return number is not None and number.value is not None and number.verdict is Verdict.VALID


def axis_columns(board: Board) -> tuple[Column, ...]:
    """Returns the first column of each axis that has a better direction."""
    first: dict[str, Column] = {}
    for column in board.columns:
        if column.metric.direction in ("higher", "lower"):
            first.setdefault(column.axis, column)
    return tuple(first.values())


def pareto_front(board: Board, columns: Sequence[Column]) -> dict[str, bool]:
    """Says which models no other dominates; of those with a valid number in every column.

    A model dominates another if it is at least as good in every column and better in one; the
    values are compared as they are, without their intervals.
    """
    if len(columns) < 2:
        return {}
    points: dict[str, NDArray[np.float64]] = {}
    for line in board.lines:
        numbers = [line.entries[column.place].number for column in columns]
        known = [
            number.value
            for number in numbers
            if number is not None and number.verdict is not Verdict.INVALID
        ]
        if len(known) == len(columns) and None not in known:
            signs = [1 if column.metric.direction == "higher" else -1 for column in columns]
            points[line.label] = np.array(known, dtype=np.float64) * signs
    return {
        label: not any(
            bool((other >= own).all() and (other > own).any()) for other in points.values()
        )
        for label, own in points.items()
    }


class _Ranked(NamedTuple):
    """A column that can be ranked: some lines, and what they are compared by."""

    column: Column
    lines: tuple[Line, ...]
    lined: LinedUp
    sign: int


def ranks_of(board: Board, rankable: Rankable, runs: Mapping[str, Run], line_up: LineUp) -> Ranks:
    """Ranks the models of a board in each column, and over all of them.

    A pair of models is compared by a paired test over the same samples, corrected for all pairs
    of the column (`stats.rank_sets`). Ranks of models whose recipe was trained several times are
    those of its next training.

    Args:
        board: the board.
        rankable: its columns, as `rankable_of` finds them.
        runs: by id.
        line_up: reads records.
    """
    # Reading records takes the engine, which a board without ranks does not load.
    from crucibench.comparing.cell_pairs import RefusedError
    from crucibench.comparing.resampled import ResamplingSettings
    from crucibench.comparing.standing import joint_replicates, pair_p_values, too_many

    board = replace(board, lines=_counting(board))
    ranked: list[_Ranked] = []
    unranked = dict(rankable.refused)
    for column, lines in rankable.columns:
        try:
            ranked.append(_lined_up(column, lines, runs, line_up))
        except RefusedError as error:
            unranked[column.place] = str(error)
    unranked = {
        column.place: unranked[column.place] for column in board.columns if column.place in unranked
    }
    if not ranked:
        return Ranks(unranked=unranked)
    lined = [one.lined for one in ranked]
    why = too_many(lined)
    settings = ResamplingSettings(replicates=_REPLICATES, stream="ranks")
    drawn = [None] * len(ranked) if why else joint_replicates(lined, settings)
    tested = {
        one.column.place: _with_training(one, pair_p_values(one.lined, replicates), board)
        for one, replicates in zip(ranked, drawn, strict=True)
    }
    spans = {one.column.place: _spans(one, tested[one.column.place]) for one in ranked}
    valid = _valid_part(board)
    front = axis_columns(valid)
    among = {line.label for one in ranked for line in one.lines}
    lacking = {
        one.column.place: sorted(missing)
        for one in ranked
        if (missing := among - {line.label for line in one.lines})
    }
    shared = [one for one in ranked if one.column.place not in lacking]
    return Ranks(
        spans=spans,
        unranked=unranked,
        standings=_standings(shared, tested, pareto_front(valid, front)),
        votes=votes_of([one.column for one in shared]),
        lacking=lacking,
        front=front,
        not_resampled=why,
    )


def _lined_up(
    column: Column, lines: tuple[Line, ...], runs: Mapping[str, Run], line_up: LineUp
) -> _Ranked:
    from crucibench.comparing.cell_pairs import RefusedError

    numbers = [number for line in lines if (number := line.entries[column.place].number)]
    address = numbers[0].address
    lined = line_up.column(
        [(runs[number.run], number.cell) for number in numbers],
        (address.metric, address.point, address.group),
    )
    if not np.isfinite(lined.values()).all():
        raise RefusedError("it is undefined for a model")
    return _Ranked(column, lines, lined, SIGNS[column.metric.direction])


def _with_training(
    one: _Ranked, p_values: NDArray[np.float64], board: Board
) -> NDArray[np.float64]:
    """Returns p-values that hold for other seeds, of the models whose recipe shows its spread."""
    spreads = {spread.group: spread for spread in board.spreads if spread.column == one.column}
    known = [spreads.get(line.about.group) for line in one.lines]
    variances = np.array([0.0 if spread is None else spread.training for spread in known])
    degrees = np.array([1.0 if spread is None else spread.seeds - 1.0 for spread in known])
    return of_next_trainings(one.lined.values(), p_values, variances, degrees, len(one.lined.ids))


def _spans(one: _Ranked, p_values: NDArray[np.float64]) -> dict[str, Span]:
    sets = rank_sets(one.sign * one.lined.values(), p_values, level=LEVEL)
    return {
        line.label: Span(int(lower), int(upper))
        for line, lower, upper in zip(one.lines, sets.lower, sets.upper, strict=True)
    }


def _standings(
    shared: Sequence[_Ranked],
    tested: Mapping[str, NDArray[np.float64]],
    fronts: Mapping[str, bool],
) -> tuple[Standing, ...]:
    """Returns the models over the columns that all of them share."""
    if not shared:
        return ()
    votes = votes_of([one.column for one in shared])
    found = mean_ranks(
        np.stack([one.sign * one.lined.values() for one in shared]),
        np.stack([tested[one.column.place] for one in shared]),
        np.array([votes[one.column.place] for one in shared]),
        level=LEVEL,
    )
    labels = [line.label for line in shared[0].lines]
    others = len(labels) - 1
    standings = [
        Standing(
            label=label,
            mean_rank=Estimate(value, lower, upper),
            win_rate=Estimate(*(1.0 - (rank - 1.0) / others for rank in (value, upper, lower))),
            on_front=fronts.get(label),
        )
        for label, value, lower, upper in zip(labels, *(end.tolist() for end in found), strict=True)
    ]
    return tuple(sorted(standings, key=lambda one: one.mean_rank.value))


def votes_of(columns: Sequence[Column]) -> dict[str, float]:
    """Returns the share of each column, by place, in a mean over columns: together 1.

    Each axis has one vote. Its scenarios share it evenly, the metric families of a scenario share
    theirs (an id without its digits: ``top-1`` and ``top-5`` are one), and so do the columns of a
    family, such as severities: what measures the same once more takes nothing from the others.
    """
    paths = [_path(column) for column in columns]
    parts = {path[:depth] for path in paths for depth in range(1, 5)}
    siblings = Counter(part[:-1] for part in parts)
    return {
        path[-1]: 1.0 / math.prod(siblings[path[:depth]] for depth in range(4)) for path in paths
    }


def _path(column: Column) -> tuple[str, ...]:
    address = parse_address(f"any:{column.place}")
    family = re.sub(r"[0-9]+", "", address.metric)
    return column.axis, f"{address.suite}/{address.scenario}", family, column.place
