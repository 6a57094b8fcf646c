"""Ranks of the models of a board: as intervals, since samples decide few of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from crucibench.stats import mean_ranks, rank_sets, win_rates

if TYPE_CHECKING:
    from crucibench.comparing.columns import LineUp
    from crucibench.comparing.standing import LinedUp
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
    compared with nothing. Rows that no longer count have none either.
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
    """Returns the lines that were not withdrawn or superseded."""
    return tuple(line for line in board.lines if line.about.retired is None)


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
    of the column (`stats.rank_sets`).

    Args:
        board: the board.
        rankable: its columns, as `rankable_of` finds them.
        runs: by id.
        line_up: reads records.
    """
    # Reading records takes the engine, which a board without ranks does not load.
    from crucibench.comparing.cell_pairs import RefusedError
    from crucibench.comparing.resampled import ResamplingSettings
    from crucibench.comparing.standing import joint_replicates, too_many

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
    spans = {
        one.column.place: _spans(one, replicates)
        for one, replicates in zip(ranked, drawn, strict=True)
    }
    valid = _valid_part(board)
    front = axis_columns(valid)
    return Ranks(
        spans=spans,
        unranked=unranked,
        standings=_standings(valid, ranked, None if why else drawn, front),
        front=front,
        no_intervals=why,
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


def _spans(one: _Ranked, replicates: NDArray[np.float64] | None) -> dict[str, Span]:
    from crucibench.comparing.standing import pair_p_values

    sets = rank_sets(
        one.sign * one.lined.values(), pair_p_values(one.lined, replicates), level=LEVEL
    )
    return {
        line.label: Span(int(lower), int(upper))
        for line, lower, upper in zip(one.lines, sets.lower, sets.upper, strict=True)
    }


def _standings(
    board: Board,
    ranked: Sequence[_Ranked],
    drawn: Sequence[NDArray[np.float64] | None] | None,
    front: Sequence[Column],
) -> tuple[Standing, ...]:
    place = {line.label: at for at, line in enumerate(board.lines)}
    values = np.full((1, len(ranked), len(place)), np.nan)
    replicates = np.full((0 if drawn is None else _REPLICATES, *values.shape[1:]), np.nan)
    stands_in: dict[str, list[int]] = {label: [] for label in place}
    for c, one in enumerate(ranked):
        at = [place[line.label] for line in one.lines]
        values[0, c, at] = one.sign * one.lined.values()
        own = None if drawn is None else drawn[c]
        if own is not None:
            replicates[:, c, at] = one.sign * own
        for line in one.lines:
            stands_in[line.label].append(c)
    fronts = pareto_front(board, front)
    standings: list[tuple[tuple[int, list[int], float, float], Standing]] = []
    for columns in {tuple(own): own for own in stands_in.values() if own}.values():
        # All that stand in these columns: each member has the same rivals in the same columns.
        among = [label for label, own in stands_in.items() if set(own) >= set(columns)]
        at = [place[label] for label in among]
        parts = values[:, columns][:, :, at], replicates[:, columns][:, :, at]
        rates, ranks = _estimates(win_rates, *parts), _estimates(mean_ranks, *parts)
        for label, rate, rank in zip(among, rates, ranks, strict=True):
            if stands_in[label] != columns:
                continue
            alone = len(among) < 2
            standing = Standing(
                label=label, win_rate=None if alone else rate, mean_rank=None if alone else rank,
                columns=len(columns), others=len(among) - 1, on_front=fronts.get(label),
            )  # fmt: skip
            order = (0.0, 0.0) if alone else (-rate.value, rank.value)
            standings.append(((-len(columns), columns, *order), standing))
    standings.sort(key=lambda entry: entry[0])
    return tuple(standing for _, standing in standings)


def _estimates(
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    values: NDArray[np.float64],
    replicates: NDArray[np.float64],
) -> list[Estimate]:
    found = of(values)[0]
    if not len(replicates):
        return [Estimate(float(value)) for value in found]
    with warnings.catch_warnings():
        # A model without a ranked number is undefined in all replicates.
        warnings.simplefilter("ignore", RuntimeWarning)
        ends = np.nanquantile(of(replicates), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return [
        Estimate(float(value), float(lower), float(upper))
        for value, lower, upper in zip(found, *ends, strict=True)
    ]
