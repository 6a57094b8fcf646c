"""The Pareto front of a board: the models that no other dominates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.verdict import Verdict
from crucibench.report.leaderboard.board import Board, Column


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
