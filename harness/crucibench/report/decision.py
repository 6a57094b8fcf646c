"""A run's claims in words: which model to ship, in a paragraph a data set; what stands out.

Trainings of one recipe are not held against each other: their recipe is, against other recipes.

A model may ship whose numbers no audit doubts, none of whose cells failed, that is shown to beat
the trivial predictors, and that holds a gate policy's required rules, where one is given. Of those
that may, one ships if it is shown to be better than each other: in the first headline column, or,
where that leaves the two open, in the others of its axis, or in any, without being worse there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crucibench.comparing.claims import Claim, Claims, Tested, claims_of
from crucibench.comparing.recipes import contenders_of
from crucibench.contracts.rows import RECIPE, MetricRow
from crucibench.contracts.verdict import Severity, Status
from crucibench.gating.policy import Policy
from crucibench.gating.result import WORST_FIRST, Outcome
from crucibench.gating.within import GateWithin
from crucibench.report.format import listed, show_count
from crucibench.report.leaderboard import Board, Column
from crucibench.report.leaderboard.build import gather
from crucibench.store.run import Run
from crucibench.util.text import shorten, visible

WORDS = 60
"""Most words of a decision's text."""

_NAME = 32
_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What a run says of one data set's models, for who has to choose.

    Attributes:
        data: the data set.
        ship: the model to ship; None where none may, or the data can't tell.
        text: the paragraph, of at most `WORDS` words.
        price: what the model that ships is shown to be worse in.
        disqualified: model to why it may not ship.
        would_help: what would decide, where no model ships; else "".
    """

    data: str
    ship: str | None
    text: str
    price: tuple[str, ...] = ()
    disqualified: dict[str, str] = field(default_factory=dict)
    would_help: str = ""


def decisions_of(run: Run, policy: Policy | None = None) -> tuple[Decision, ...]:
    """Returns the decision on each data set of a finished run, in their order.

    Args:
        run: a run or a pack.
        policy: of a gate: what does not hold its required rules may not ship.
    """
    claims = claims_of(run)
    columns, _ = gather([run])
    names = dict.fromkeys(data for _, data in run.models)
    gate = None if policy is None else GateWithin(run, policy)
    return tuple(_Choice(run, data, claims, columns, gate).decision() for data in names)


class _Choice:
    """The models of one data set, and what is claimed of them."""

    def __init__(
        self,
        run: Run,
        data: str,
        claims: Claims,
        columns: Sequence[Column],
        gate: GateWithin | None,
    ) -> None:
        self.data = data
        self.claims = claims
        self.wanting = "" if run.finished else "a finished run"
        self.columns = [one for one in columns if one.metric.direction in {"higher", "lower"}]
        self.models = contenders_of(run, data)
        self.gate = gate
        self.needed = 0
        self.unproven: list[str] = []
        self.out = {
            model: reason
            for model in self.models
            if (
                reason := _doubts(run, self.models[model], data)
                or self._below_baselines(model)
                or self._breaks(model)
            )
        }
        left = [model for model in self.models if model not in self.out]
        # All against all before any is out: who breaks a margin may yet be what another is held to.
        self.out |= {
            model: reason
            for model in left
            if (reason := next(filter(None, (self._breaks(model, one) for one in left)), ""))
        }

    def _below_baselines(self, model: str) -> str:
        """Returns which trivial predictors a model is not shown to beat; "" where it beats all."""
        beside = self.claims.beside
        if beside is None:
            return ""
        trainings = self.models[model]
        left = [
            (name, one)
            for name in self._trivial()
            for one in trainings
            if not self._claims(one, name, beside)
        ]
        if not left:
            return ""
        for name, one in left:
            if self._claims(name, one, beside):
                return f"worse than {name}"
        self.unproven.append(model)
        tested = self._tested(left[0][1], left[0][0], beside)
        if tested is not None and tested.gain > 0 and tested.needed is not None:
            self.needed = max(self.needed, tested.needed)
        return f"not shown to beat {listed(list(dict.fromkeys(name for name, _ in left)))}"

    def _breaks(self, model: str, rival: str = "") -> str:
        """Returns which required rule of the policy a model does not hold; "" for none."""
        mixed = rival and model.endswith(RECIPE) != rival.endswith(RECIPE)
        if self.gate is None or model == rival or mixed:
            return ""
        checks = self.gate.broken(self.data, model, rival)
        if not checks:
            return ""
        worst = min(checks, key=lambda check: WORST_FIRST.index(check.outcome))
        if worst.outcome is Outcome.INCONCLUSIVE:
            self.needed = max(self.needed, worst.n_needed or 0)
        what = worst.address.rpartition("/")[2]
        against = f" against {_name(rival)}" if rival else ""
        return f"policy: {what} {worst.outcome}{against}"

    def decision(self) -> Decision:
        left = [model for model in self.models if model not in self.out]
        if not left:
            helps = f"about {show_count(_round_up(self.needed))} samples" if self.needed else ""
            return self._none("No model may ship", helps)
        if self.claims.note:
            return self._none(f"Can't tell: {self.claims.note}", self.wanting)
        # What too few samples keep from beating a trivial predictor may yet be the better one.
        rivals = [*left, *(model for model in self.unproven if model in self.out)]
        best = [
            one for one in left if all(self._wins(one, other) for other in rivals if other != one)
        ]
        if best:
            return self._shipped(best[0], [one for one in left if one != best[0]])
        return self._undecided(rivals)

    def _wins(self, one: str, other: str) -> bool:
        """Whether `one` is to be preferred: see the module."""
        ahead, behind = self._claims(one, other), self._claims(other, one)
        for wanted in self._scopes():
            gains = [claim for claim in ahead if claim.place in wanted]
            losses = [claim for claim in behind if claim.place in wanted]
            if gains or losses:
                return not losses
        return False

    def _scopes(self) -> list[set[str]]:
        """Returns the first column, its axis, and all columns, as places."""
        columns = [one for one in self.columns if self._measured(one.place)]
        first = columns[:1]
        axis = [one for one in columns if one.axis == columns[0].axis]
        return [{one.place for one in scope} for scope in (first, axis, columns)]

    def _measured(self, place: str) -> bool:
        return any((one.data, one.place) == (self.data, place) for one in self.claims.tested)

    def _claims(self, better: str, worse: str, claims: Claims | None = None) -> list[Claim]:
        """Returns what the first is shown to be better in, in the order of columns."""
        known = claims or self.claims
        found = [known.better(self.data, column.place, better, worse) for column in self.columns]
        return [claim for claim in found if claim is not None]

    def _shipped(self, model: str, others: Sequence[str]) -> Decision:
        name = _name(model)
        if others:
            # The rival that comes nearest in what decides.
            wins = [self._claims(model, other)[0] for other in others]
            nearest = min(wins, key=lambda claim: claim.by)
            than = (
                _name(nearest.worse)
                if len(others) == 1
                else f"{_name(nearest.worse)}, the nearest,"
            )
            reason = f"it is better than {than} in {self._by(nearest)}"
        elif beaten := self._beaten(model):
            reason = f"it is better than the {beaten.worse} baseline in {self._by(beaten)}"
        elif self.gate is not None:
            reason = "it holds the policy"
        else:
            helps = "another model, a baseline or a policy"
            return self._none(f"Nothing to hold {name} against", helps)
        losses = {claim.place: claim for other in others for claim in self._claims(other, model)}
        price = tuple(
            (f"than {_name(one.better)} " if len(others) > 1 else "") + f"in {self._by(one, False)}"
            for one in losses.values()
        )
        parts = [f"Ship {name}: {reason}."]
        if price:
            more = f", and in {len(price) - 1} more" if len(price) > 1 else ""
            parts.append(f"Its price: it is worse {price[0]}{more}.")
        elif others:
            parts.append("No metric shows it to be worse.")
        parts.append(self._outs())
        return Decision(
            data=self.data, ship=model, text=_within(parts), price=price, disqualified=self.out
        )

    def _trivial(self) -> list[str]:
        """Returns the names of the trivial predictors of the data set."""
        numbers = self.claims.baselines
        return list(dict.fromkeys(one.baseline for one in numbers if one.data == self.data))

    def _beaten(self, model: str) -> Claim | None:
        """Returns the claim over the trivial predictor that comes nearest."""
        beside = self.claims.beside
        if beside is None:
            return None
        won = [
            found[0]
            for name in self._trivial()
            for one in self.models[model]
            if (found := self._claims(one, name, beside))
        ]
        return min(won, key=lambda claim: claim.by, default=None)

    def _undecided(self, left: Sequence[str]) -> Decision:
        """Says of the two that come first why neither is preferred, and what would decide."""
        top = [
            one for one in left if not any(self._wins(other, one) for other in left if other != one)
        ]
        one, other = ([*top, *(model for model in left if model not in top)])[:2]
        more = [model for model in top if model not in {one, other}]
        ahead, behind = self._claims(one, other), self._claims(other, one)
        if ahead and behind:
            first = (
                f"No model is best all round: {_name(one)} is better in {self._by(ahead[0])}, "
                f"{_name(other)} in {self._by(behind[0])}"
            )
            helps = "a policy that states the tolerable losses"
            return self._none(first, helps)
        tested = self._tested(one, other)
        rest = f" (nor from {listed([_name(model) for model in more], most=2)})" if more else ""
        if tested is None:
            return self._none(
                f"Can't tell {_name(one)} from {_name(other)}{rest}: no headline number of both "
                "bears a test", "more samples",
            )  # fmt: skip
        if tested.gain < 0:
            one, other = other, one
        column = self._column(tested.place)
        gap = column.metric.show_gain(abs(tested.gain), *_ends(tested))
        first = (
            f"Can't tell {_name(one)} from {_name(other)}{rest}: in "
            f"{low_first(column.title)} the difference is {gap} at n {show_count(tested.n)}"
        )
        return self._none(first, _samples(tested))

    def _tested(self, one: str, other: str, claims: Claims | None = None) -> Tested | None:
        """Returns the test of two models in the first column that has one; gain of `one`."""
        for column in self.columns:
            for entry in (claims or self.claims).tested:
                if (entry.data, entry.place) != (self.data, column.place):
                    continue
                if (entry.first, entry.second) == (other, one):
                    return entry
                if (entry.first, entry.second) == (one, other):
                    ends = [None if end is None else -end for end in (entry.upper, entry.lower)]
                    return entry._replace(
                        first=other, second=one, gain=-entry.gain, lower=ends[0], upper=ends[1]
                    )
        return None

    def _none(self, first: str, helps: str) -> Decision:
        parts = [f"{first}.", f"{high_first(helps)} would decide." if helps else "", self._outs()]
        return Decision(
            data=self.data, ship=None, text=_within(parts), disqualified=self.out, would_help=helps
        )

    def _outs(self) -> str:
        if not self.out:
            return ""
        found = [f"{_name(model)} ({reason})" for model, reason in self.out.items()]
        more = f" and {len(found) - _MOST} more" if len(found) > _MOST else ""
        return f"Out: {', '.join(found[:_MOST])}{more}."

    def _by(self, claim: Claim, of_better: bool = True) -> str:
        column = self._column(claim.place)
        gap = column.metric.show_gain(claim.by, claim.lower, claim.upper)
        return f"{low_first(column.title)} by {gap}{claim.by_sample(of_better)}"

    def _column(self, place: str) -> Column:
        return next(one for one in self.columns if one.place == place)


def _doubts(run: Run, models: Collection[str], data: str) -> str:
    """Returns what keeps models from shipping whatever their numbers are; "" for nothing."""
    cells = [one for one in run.cells.values() if one.model in models and one.data == data]
    # A machine that was busy while a model was timed says nothing against the model, nor in what
    # is made of the timings.
    found = [
        finding
        for cell in cells
        for finding in cell.findings
        if finding.severity is Severity.INVALID
        or (
            finding.severity is Severity.SUSPECT
            and run.cells.get(finding.cell, cell).kind != "timed"
        )
    ]
    for severity in (Severity.INVALID, Severity.SUSPECT):
        codes = dict.fromkeys(one.code for one in found if one.severity is severity)
        if codes:
            return f"{severity}: {' and '.join(list(codes)[:2]).replace('-', ' ')}"
    failed = dict.fromkeys(cell.suite for cell in cells if cell.status is Status.FAILED)
    return f"failed in {listed(failed, most=2)}" if failed else ""


def _samples(tested: Tested) -> str:
    if tested.needed is None or not tested.gain:
        return "a further axis (speed, cost)"
    if tested.needed <= tested.n:
        return "more samples"
    return f"about {show_count(_round_up(tested.needed))} samples"


def _round_up(n: int) -> int:
    """Returns n to two digits, upwards: a plan is no more exact."""
    unit = int(10 ** max(len(str(n)) - 2, 0))
    return -(-n // unit) * unit


def _ends(tested: Tested) -> tuple[float | None, float | None]:
    """Returns the ends of the interval of the gain's size."""
    if tested.lower is None or tested.upper is None or tested.gain >= 0:
        return tested.lower, tested.upper
    return -tested.upper, -tested.lower


def _name(model: str) -> str:
    return shorten(visible(model), _NAME)


def _within(parts: Sequence[str]) -> str:
    """Joins sentences up to the number of words; the first is always there, cut if need be."""
    text = ""
    for part in filter(None, parts):
        longer = f"{text} {part}".strip()
        if len(longer.split()) > WORDS:
            continue
        text = longer
    if text:
        return text
    return f"{' '.join(parts[0].split()[: WORDS - 1])} …"


_LONGEST_LABEL = 40


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
        name = shorten(line.label, _LONGEST_LABEL)
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
        f"{claim.by_sample(True)}"
        for name, claim in order.behind.items()
    ]
    return f"{text}. It is better than {listed(differences, most=4)}."
