"""What stands out on a board, in words that the intervals bear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from crucibench.contracts.verdict import Verdict
from crucibench.report.format import listed
from crucibench.report.leaderboard import Board, Column, shown_metric
from crucibench.util.text import shorten

_NAME = 40


class Standouts(NamedTuple):
    """Sentences on a board.

    Attributes:
        first: where the axes disagree, and how each axis's first column stands.
        rest: the other columns, and what was left out.
    """

    first: list[str]
    rest: list[str]


class _Order(NamedTuple):
    """How models stand in a column.

    Attributes:
        column: which.
        best: the model with the best value.
        shown: model to value, in words.
        near: models whose interval overlaps with the best one's.
        behind: models whose interval lies apart from it: how far, in widths of both intervals.
        left_out: models without a valid number and interval.
    """

    column: Column
    best: str
    shown: dict[str, str]
    near: list[str]
    behind: dict[str, float]
    left_out: list[str]

    @property
    def settled(self) -> bool:
        return not self.near


def standouts(board: Board) -> Standouts:
    """Returns sentences on a board: an order is claimed only where intervals lie apart."""
    orders = [order for column in board.columns if (order := _order(board, column)) is not None]
    leading: dict[str, _Order] = {}
    for order in orders:
        leading.setdefault(order.column.axis, order)
    heads = list(leading.values())
    first = _trade_offs(heads, orders)
    first += [_sentence(order) for order in heads if order.behind]
    rest = [_sentence(order) for order in orders if order.behind and order not in heads]
    open_ = [order.column.title for order in orders if not order.behind]
    if open_:
        rest.append(
            f"No model stands out in {'; '.join(open_)}: every interval there overlaps with that "
            "of the best value."
        )
    left_out = list(dict.fromkeys(name for order in orders for name in order.left_out))
    if left_out:
        verb = "is" if len(left_out) == 1 else "are"
        rest.append(
            f"{listed(left_out)} {verb} left out of these sentences where a number is not valid or "
            "has no interval."
        )
    return Standouts(first, rest) if first else Standouts(rest, [])


def _trade_offs(heads: Sequence[_Order], orders: Sequence[_Order]) -> list[str]:
    """Says where a model that is best on some axes lies clearly behind.

    Of each axis one column: the first, or else that in which it lies furthest behind.
    """
    sentences = []
    for best in dict.fromkeys(order.best for order in heads):
        leads = [_lead(order) for order in heads if order.best == best]
        lags = []
        for head in heads:
            worse = [
                order for order in orders
                if order.column.axis == head.column.axis and best in order.behind
            ]  # fmt: skip
            if worse:
                furthest = max(worse, key=lambda order: order.behind[best])
                lags.append(head if head in worse else furthest)
        if lags:
            said = [
                f"behind {order.best} in {low_first(order.column.title)} "
                f"({order.shown[best]} against {order.shown[order.best]})"
                for order in lags
            ]
            sentences.append(f"{best} has the best {_joined(leads)}, but lies clearly "
                             f"{_joined(said)}.")  # fmt: skip
    return sentences


def _lead(order: _Order) -> str:
    open_ = f", which {listed(order.near)} may match" if order.near else ""
    return f"{low_first(order.column.title)} ({order.shown[order.best]}{open_})"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def high_first(title: str) -> str:
    """Returns a title as it stands at the start of a sentence."""
    return title[:1].upper() + title[1:]


def low_first(title: str) -> str:
    """Returns a title as it stands within a sentence."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


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
    top, floor, ceiling, name, _ = usable[0]
    return _Order(
        column=column,
        best=name,
        shown={
            name: _shown(column, shown_metric(column, number).show(number).value)
            for *_, name, number in usable
        },
        near=[entry[3] for entry in usable[1:] if entry[2] >= floor],
        behind={
            rival: (top - value) / (ceiling - floor + best - worst)
            if ceiling - floor + best - worst > 0
            else math.inf
            for value, worst, best, rival, _ in usable[1:]
            if best < floor
        },
        left_out=left_out,
    )


def _shown(column: Column, value: str) -> str:
    unit = column.metric.shown_unit
    return f"{value} {unit}" if unit else value


def _sentence(order: _Order) -> str:
    word = "highest" if order.column.metric.direction == "higher" else "lowest"
    text = f"{high_first(order.column.title)}: {order.best} has the {word} value "
    text += f"({order.shown[order.best]})"
    if order.settled:
        return f"{text}, and its interval lies clear of all others."
    overlap = (
        "the interval of {} overlaps" if len(order.near) == 1 else "the intervals of {} overlap"
    )
    return (
        f"{text}; {overlap.format(listed(order.near))} with its own, so that their order is open. "
        f"Clearly behind: {listed(list(order.behind))}."
    )
