"""What stands out on a board, in words that the intervals bear."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from crucibench.contracts.verdict import Verdict
from crucibench.report.format import listed
from crucibench.report.leaderboard import Board, Column, shown_metric
from crucibench.util.text import shorten

_NAME = 40


class _Order(NamedTuple):
    column: Column
    best: str
    shown: str
    near: list[str]
    behind: list[str]
    left_out: list[str]

    @property
    def settled(self) -> bool:
        return not self.near


def standouts(board: Board) -> list[str]:
    """Returns sentences on a board: an order is claimed only where intervals lie apart."""
    orders = [order for column in board.columns if (order := _order(board, column)) is not None]
    if not orders:
        return []
    sentences = [*_trade_offs(orders), *(_sentence(order) for order in orders if order.behind)]
    open_ = [order.column.title for order in orders if not order.behind]
    if open_:
        sentences.append(
            f"No model stands out in {'; '.join(open_)}: every interval there overlaps with that "
            "of the best value."
        )
    left_out = list(dict.fromkeys(name for order in orders for name in order.left_out))
    if left_out:
        verb = "is" if len(left_out) == 1 else "are"
        sentences.append(
            f"{listed(left_out)} {verb} left out of these sentences where a number is not valid or "
            "has no interval."
        )
    return sentences


def _trade_offs(orders: Sequence[_Order]) -> list[str]:
    """Says where the best of one axis lies clearly behind on another; one column an axis."""
    leaders: dict[str, _Order] = {}
    for order in orders:
        leaders.setdefault(order.column.axis, order)
    return [
        f"The best in {one.column.title} is not the best in {other.column.title}: {one.best} leads "
        f"in the first and lies clearly behind {other.best} in the second."
        for one, other in combinations(leaders.values(), 2)
        if one.settled and one.best in other.behind
    ]


def _order(board: Board, column: Column) -> _Order | None:
    direction = column.metric.direction
    if direction not in {"higher", "lower"}:
        return None
    sign = 1.0 if direction == "higher" else -1.0
    usable, left_out = [], []
    for line in board.lines:
        number = line.entries[column.place].number
        if number is None or number.value is None:
            continue
        name = shorten(line.label, _NAME)
        if number.verdict is not Verdict.VALID or number.interval is None:
            left_out.append(name)
            continue
        worst, best = sorted(sign * end for end in number.interval)
        usable.append((sign * number.value, worst, best, name, number))
    if len(usable) < 2:
        return None
    usable.sort(key=lambda entry: -entry[0])
    _, floor, _, name, number = usable[0]
    return _Order(
        column=column,
        best=name,
        shown=_shown(column, shown_metric(column, number).show(number).value),
        near=[entry[3] for entry in usable[1:] if entry[2] >= floor],
        behind=[entry[3] for entry in usable[1:] if entry[2] < floor],
        left_out=left_out,
    )


def _shown(column: Column, value: str) -> str:
    unit = column.metric.shown_unit
    return f"{value} {unit}" if unit else value


def _sentence(order: _Order) -> str:
    word = "highest" if order.column.metric.direction == "higher" else "lowest"
    text = f"{order.column.title}: {order.best} has the {word} value ({order.shown})"
    if order.settled:
        return f"{text}, and its interval lies clear of all others."
    overlap = (
        "the interval of {} overlaps" if len(order.near) == 1 else "the intervals of {} overlap"
    )
    return (
        f"{text}; {overlap.format(listed(order.near))} with its own, so that their order is open. "
        f"Clearly behind: {listed(order.behind)}."
    )
