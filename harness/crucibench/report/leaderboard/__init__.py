"""The leaderboard: models of one or several runs side by side, where they may stand so.

One board a data set: rows are models, columns the addresses that suites name as their headline.
In each column only numbers of one comparison key are joined; the others are listed apart with the
field that differs.
"""

from __future__ import annotations

from crucibench.report.leaderboard.build import leaderboard
from crucibench.report.leaderboard.model import Board, Column, Leaderboard, Line
from crucibench.report.leaderboard.ranks import axis_columns, pareto_front

__all__ = [
    "Board", "Column", "Leaderboard", "Line", "axis_columns", "leaderboard", "pareto_front",
]  # fmt: skip
