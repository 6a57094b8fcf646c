"""A gate that looks while models are being asked: ``run --until-decided``.

The first model is the baseline, every other one a candidate. A look holds the required rules by
evidence that is valid at any look (`crucibench.stats.sequences`): bets where what is compared is a
mean of numbers within bounds, the asymptotic form for all else. A rule passes once the loss of its
margin is ruled out, and is broken once a smaller one is, Holm-adjusted over the rules of a model;
what a look has shown stays shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.rows import Address
from crucibench.contracts.statistic import Form, Number, RowMetric, Share
from crucibench.engine.collect.blocks import Look, derived_from
from crucibench.engine.plan.plan import Plan
from crucibench.gating.decide import ALPHA, LEVEL
from crucibench.gating.evaluate import (
    CheckDraft,
    failed,
    untrusted,
    with_checks,
    with_effect,
)
from crucibench.gating.policy import Policy, Rule, fits
from crucibench.gating.result import Check, GateVerdict, Outcome, Sides, Test
from crucibench.gating.sides import side_of
from crucibench.gating.text import between, change, exact
from crucibench.metrics.forms import counted as hits_among
from crucibench.metrics.trainings import SampleUnits, table_of_trainings
from crucibench.stats import holm
from crucibench.stats.sequences import Bets, Mixture
from crucibench.store.documents import read_document
from crucibench.store.run import Run
from crucibench.util import doors
from crucibench.util.atomic import write_json
from crucibench.util.errors import InputError, UnreadableError

Floats = NDArray[np.float64]

NAME = "looks.json"
_FORMAT = 1


class _Gain(NamedTuple):
    """A number of which more is better, and the evidence that there is about it."""

    value: float
    seen: Bets | Mixture


@dataclass
class _Held:
    """One number under one rule, over all looks.

    Attributes:
        address: of the candidate's number.
        passed: the least p-value so far of a loss of the margin or more.
        broken: the least of a loss of the margin or less.
        check: as the last look has it.
    """

    address: Address
    passed: float = 1.0
    broken: float = 1.0
    check: dict[str, Any] = field(default_factory=dict)


class LookJudge:
    """The required rules of a policy, held at every look; a `crucibench.engine` judge."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._models: list[str] = []
        self._data = ""
        self._held: dict[tuple[int, Test, Address], _Held] = {}
        self._last: Look | None = None

    def check(self, plan: Plan) -> None:
        """Takes what is asked.

        Raises:
            InputError: if there is one model alone, or a rule that no look could decide.
        """
        self._models = list(dict.fromkeys(cell.model.name for cell in plan))
        self._data = next(cell.data.name for cell in plan)
        if len(self._models) < 2:
            raise InputError("until_decided: expected a baseline and a candidate, got one model")
        seen = {
            f"{cell.model.name}:{cell.scenario.address}{point and f'[{point}]'}/{info.id}"
            for asked in plan
            for cell in derived_from(plan, asked)
            for point in cell.scenario.points
            for info in cell.scenario.metrics
            if cell.model.name != self._models[0]
        }
        if not self._policy.required:
            raise InputError("until_decided: the policy has no required rule to decide")
        for rule in self._policy.required:
            address = rule.address.partition("@")[0]
            if not any(fits(address, one) for one in seen) or not fits(rule.data, self._data):
                raise InputError(
                    f"until_decided: no candidate has a number of plain answers that the rule "
                    f"{rule.title!r} fits"
                )

    def look(self, look: Look) -> bool:
        """Holds the rules by what was asked so far; returns whether all are decided."""
        self._last = look
        open_ = set[str]()
        for place, test, address in self._asked(look):
            rule = self._policy.required[place]
            other = address if test == "floor" else address._replace(model=self._models[0])
            numbers = [look.numbers.get(one) for one in (address, other)]
            tested = _tested(rule, test, numbers, look.infos[address.metric], look)
            if tested is None:
                open_.add(address.model)
                continue
            held = self._held.setdefault((place, test, address), _Held(address))
            _hold(held, rule.title, test, tested, look)
        outcomes = [(one.address.model, outcome) for one, outcome in self._outcomes()]
        stopped = {model for model, outcome in outcomes if outcome is Outcome.REGRESSION}
        open_ |= {model for model, outcome in outcomes if outcome is Outcome.INCONCLUSIVE}
        return all(
            model in stopped or (model in dict(outcomes) and model not in open_)
            for model in self._models[1:]
        )

    def _asked(self, look: Look) -> Iterator[tuple[int, Test, Address]]:
        """Yields each rule's place with the numbers of candidates that it fits."""
        for place, rule in enumerate(self._policy.required):
            for address in look.numbers:
                mine = address.model != self._models[0] and fits(rule.address, str(address))
                if not mine or look.infos[address.metric].direction not in {"higher", "lower"}:
                    continue
                if rule.floor is not None:
                    yield place, "floor", address
                if rule.margin is not None or rule.no_worse:
                    yield place, "no-worse" if rule.no_worse else "margin", address

    def _outcomes(self) -> Iterator[tuple[_Held, Outcome]]:
        for model in self._models[1:]:
            held = [one for one in self._held.values() if one.address.model == model]
            for one, p_adjusted in zip(held, holm([one.broken for one in held]), strict=True):
                if one.passed < ALPHA:
                    yield one, Outcome.PASS
                else:
                    lost = p_adjusted < ALPHA
                    yield one, Outcome.REGRESSION if lost else Outcome.INCONCLUSIVE

    def write(self, root: Path) -> None:
        """Writes what the looks have shown into the run's folder."""
        if self._last is None:
            doors.unlink(root / NAME, missing_ok=True)
            return
        places = {id(held): place for (place, _, _), held in self._held.items()}
        checks = []
        for held, outcome in self._outcomes():
            message = _message(outcome, held.check, self._last.most)
            check = {**held.check, "outcome": outcome, "message": message}
            checks.append({"rule": places[id(held)], "check": check})
        facts = {"n": self._last.n, "most": self._last.most, "baseline": self._models[0]}
        write_json(root / NAME, {"format": _FORMAT, **facts, "checks": checks})


def looked_verdict(run: Run, policy: Policy, name: str = "") -> GateVerdict:
    """Returns what the looks at a finished run have decided, where its numbers are trusted."""
    sides = Sides(baseline=run.id, candidate=run.id, policy=name)
    try:
        stored = read_document(run.root / NAME)
    except (UnreadableError, OSError):
        return failed(sides, "no look was taken")
    numbers, checks = side_of(run).numbers, []
    for one in stored["checks"]:
        check, rule = Check.model_validate(one["check"]), policy.required[one["rule"]]
        baseline = f"{stored['baseline']}{check.address.removeprefix(check.model)}"
        both = [check.address, *([baseline] if check.against == "baseline" else [])]
        held = [numbers[check.data, address] for address in both]
        if (doubt := untrusted("required", rule, held, check.against)) is not None:
            check = check.model_copy(update={"outcome": doubt[0], "message": doubt[1]})
        draft = CheckDraft(
            tier="required", rule=rule, test=check.test, against=check.against, data=check.data,
            address=check.address, model=check.model,
        )  # fmt: skip
        checks.append(with_effect(check, draft, policy, datetime.now(UTC).date()))
    seen = {one["rule"] for one in stored["checks"]}
    errors = [
        f"no look had a number that the rule {rule.title!r} fits"
        for place, rule in enumerate(policy.required)
        if place not in seen
    ]
    note = f"{stored['n']:,} of {stored['most']:,} samples were asked until it was decided"
    verdict = GateVerdict(
        sides=sides, outcome=Outcome.PASS, blocking=[], checks=[], notes=[note], errors=errors
    )
    return with_checks(verdict, checks)


class _Tested(NamedTuple):
    """What a rule holds.

    Attributes:
        gain: candidate less baseline, or the candidate alone, signed so that more is better.
        passes: a number and the null that a pass shows it to be more than.
        breaks: a number and the null that a regression shows it to be less than.
        values: of baseline and candidate; the first is None for a floor.
        bound: margin, loss to detect, or floor.
    """

    gain: _Gain
    passes: tuple[_Gain, float]
    breaks: tuple[_Gain, float]
    values: tuple[float | None, float]
    bound: float


def _tested(
    rule: Rule, test: Test, numbers: list[Number | None], info: MetricInfo, look: Look
) -> _Tested | None:
    """Returns what a rule holds, or None where a number of it is undefined so far."""
    forms = [one.form for one in numbers if one is not None and one.make and one.units is None]
    sign = 1.0 if info.direction == "higher" else -1.0
    if len(forms) < 2 or None in (own := [_gain([form], [sign], info, look) for form in forms]):
        return None
    now, was = (sign * one.value for one in own if one is not None)
    if test == "floor":
        assert rule.floor is not None and own[0] is not None
        held = own[0], sign * rule.floor
        return _Tested(own[0], held, held, (None, now), rule.floor)
    size = rule.detect if test == "no-worse" else rule.margin
    assert size is not None
    # A margin that is a share of the baseline moves with it, sample by sample.
    share = math.copysign(size.value, was) if size.relative else 0.0
    gain = _gain(forms, [sign, -sign], info, look)
    less = _gain(forms, [sign, share - sign], info, look)
    if gain is None or less is None:
        return None
    held = less, 0.0 if size.relative else -size.value
    breaks = (gain, 0.0) if test == "no-worse" else held
    return _Tested(gain, held, breaks, (was, now), size.of(was))


def _gain(forms: list[Form], weights: list[float], info: MetricInfo, look: Look) -> _Gain | None:
    """Returns a weighted sum of numbers of the same samples; None where it is undefined."""
    parts = [one for form in forms if (one := _bounded(form, info)) is not None]
    among = parts[0].among if parts else np.zeros(0, dtype=np.bool_)
    if len(parts) == len(forms) and all(np.array_equal(among, one.among) for one in parts):
        if not among.any():
            return None
        values = sum(w * one.values[among] for w, one in zip(weights, parts, strict=True))
        ends = [
            sorted((w * one.lower, w * one.upper)) for w, one in zip(weights, parts, strict=True)
        ]
        lower, upper = (float(sum(end)) for end in zip(*ends, strict=True))
        bets = Bets(values, lower, upper, block=look.block, most=look.most, level=LEVEL)
        return _Gain(float(np.mean(values)), bets)
    table = table_of_trainings(forms, SampleUnits(look.n, "looks"))
    if table.shape[1] < 2 or not np.isfinite(table).all():
        return None
    values = np.asarray(weights) @ table
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return _Gain(mean, Mixture(mean, error, look.n, most=look.most, level=LEVEL))


class _Bounded(NamedTuple):
    values: Floats
    among: NDArray[np.bool_]
    lower: float
    upper: float


def _bounded(form: Form, info: MetricInfo) -> _Bounded | None:
    """Returns a number as a mean of values whose bounds are known beforehand, where it is one."""
    if isinstance(form, Share) and form.of_share is None and form.same_samples:
        hits, among = hits_among(form)
        return _Bounded(hits.astype(np.float64), among, 0.0, 1.0)
    means = form.bounded if isinstance(form, RowMetric) else None
    # Bounds of a log loss are those of the answers that were seen: the metric itself has none.
    if means is None or means.values.min() < info.lower or means.values.max() > info.upper:
        return None
    everyone = np.ones(len(means.values), dtype=np.bool_)
    known = math.isfinite(info.lower) and math.isfinite(info.upper)
    return _Bounded(means.values, everyone, info.lower, info.upper) if known else None


def _hold(held: _Held, rule: str, test: Test, tested: _Tested, look: Look) -> None:
    """Adds a look to what is known of a number under a rule."""
    (more, passes), (less, breaks), info = tested.passes, tested.breaks, look.infos
    held.passed = min(held.passed, more.seen.evidence(passes).p[0])
    held.broken = min(held.broken, less.seen.evidence(breaks).p[1])
    metric, interval = info[held.address.metric], tested.gain.seen.interval()
    ends = (None, None) if interval is None else (interval.lower, interval.upper)
    floor = test == "floor"
    if floor and interval is not None and metric.direction == "lower":
        ends = -interval.upper, -interval.lower
    held.check = {
        "rule": rule, "tier": "required", "test": test, "data": look.data,
        "against": "policy" if floor else "baseline", "bound": tested.bound,
        "model": held.address.model, "address": str(held.address),
        "baseline": tested.values[0], "candidate": tested.values[1],
        "gain": None if floor else tested.gain.value,
        "lower": ends[0], "upper": ends[1], "level": LEVEL,
        "p": min(held.passed, held.broken), "n": look.n, "method": tested.gain.seen.method,
        "estimand": "" if floor else "files", "direction": metric.direction, "unit": metric.unit,
        "percent": (metric.lower, metric.upper) == (0.0, 1.0) and not metric.unit,
    }  # fmt: skip


_SAYS: dict[tuple[str, Outcome], str] = {
    ("margin", Outcome.PASS): "a loss of {} is ruled out",
    ("margin", Outcome.REGRESSION): "the loss is shown to be more than {}",
    ("no-worse", Outcome.PASS): "a loss of {} is ruled out",
    ("no-worse", Outcome.REGRESSION): "a loss is shown",
    ("floor", Outcome.PASS): "it is shown to hold {}",
    ("floor", Outcome.REGRESSION): "it is shown not to hold {}",
}


def _message(outcome: Outcome, check: Mapping[str, Any], most: int) -> str:
    test, percent, seen = check["test"], check["percent"], ""
    bound = exact(check["bound"], percent=percent, points=test != "floor")
    finding = _SAYS.get((test, outcome), "neither {} nor its opposite is shown").format(bound)
    if check["gain"] is not None and check["lower"] is not None:
        half = (check["upper"] - check["lower"]) / 2
        seen = f"{change(check['gain'], half=half, percent=percent, sign=True)} "
        seen += f"{between(check['lower'], check['upper'], percent=percent)}, at any look: "
    return f"{seen}{finding} by {check['n']:,} of {most:,} samples"
