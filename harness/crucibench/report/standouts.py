"""What stands out on a board: the claims of a run in words."""

from __future__ import annotations

from typing import NamedTuple

from crucibench.comparing.claims import Claim, Claims
from crucibench.contracts.rows import MetricRow
from crucibench.report.format import listed
from crucibench.report.leaderboard import Board, Column
from crucibench.util.text import shorten

_NAME = 40


class _Order(NamedTuple):
    """How models stand in a column.

    Attributes:
        column: which.
        best: the model with the best value.
        shown: model to value, in words.
        near: models that no claim says to be behind the best.
        behind: model to the claim that the best is better.
        left_out: models whose number bears no claim.
    """

    column: Column
    best: str
    shown: dict[str, str]
    near: list[str]
    behind: dict[str, Claim]
    left_out: list[str]


def standouts(board: Board, claims: Claims) -> list[str]:
    """Returns a sentence a column of a board of one run: an order is stated only where claimed."""
    if claims.note:
        return [high_first(f"{claims.note}.")]
    orders = [
        order for column in board.columns if (order := _order(board, column, claims)) is not None
    ]
    sentences = [_sentence(order) for order in orders if order.behind]
    open_ = [order.column.title for order in orders if not order.behind]
    if open_:
        sentences.append(
            f"No model is shown to be behind the best in {'; '.join(open_)}: paired tests of all "
            "models, corrected for their number, leave the order there open."
        )
    left_out = list(dict.fromkeys(name for order in orders for name in order.left_out))
    if left_out:
        verb = "is" if len(left_out) == 1 else "are"
        sentences.append(
            f"{listed(left_out)} {verb} left out of these sentences where a number is not valid, "
            "is marked, or can't be compared sample by sample."
        )
    return sentences


def high_first(title: str) -> str:
    """Returns a title as it stands at the start of a sentence."""
    return title[:1].upper() + title[1:]


def low_first(title: str) -> str:
    """Returns a title as it stands within a sentence."""
    return title if title[:2].isupper() else title[:1].lower() + title[1:]


def _order(board: Board, column: Column, claims: Claims) -> _Order | None:
    direction = column.metric.direction
    if direction not in {"higher", "lower"}:
        return None
    sign = 1.0 if direction == "higher" else -1.0
    tested = {
        name
        for one in claims.tested
        if (one.data, one.place) == (board.data, column.place)
        for name in (one.first, one.second)
    }
    usable: list[tuple[float, str, str, MetricRow]] = []
    left_out = []
    for line in board.lines:
        number = line.entries[column.place].number
        if number is None or number.value is None:
            continue
        name = shorten(line.label, _NAME)
        if line.model not in tested:
            left_out.append(name)
            continue
        usable.append((sign * number.value, name, line.model, number))
    if len(usable) < 2:
        return None
    usable.sort(key=lambda entry: -entry[0])
    _, best, leader, _ = usable[0]
    behind: dict[str, Claim] = {}
    near = []
    for _, name, model, _ in usable[1:]:
        claim = claims.better(board.data, column.place, leader, model)
        if claim is None:
            near.append(name)
        else:
            behind[name] = claim
    shown = {
        name: _with_unit(column, column.metric.show(number).value) for _, name, _, number in usable
    }
    return _Order(column, best, shown, near, behind, left_out)


def _with_unit(column: Column, value: str) -> str:
    unit = column.metric.shown_unit
    return f"{value} {unit}" if unit else value


def _sentence(order: _Order) -> str:
    word = "highest" if order.column.metric.direction == "higher" else "lowest"
    text = f"{high_first(order.column.title)}: {order.best} has the {word} value "
    text += f"({order.shown[order.best]})"
    if order.near:
        text += f"; whether {listed(order.near)} {'is' if len(order.near) == 1 else 'are'} behind "
        text += "is open"
    differences = [
        f"{name} by {order.column.metric.show_gain(claim.by, claim.lower, claim.upper)}"
        for name, claim in order.behind.items()
    ]
    return f"{text}. It is better than {listed(differences, most=4)}."
