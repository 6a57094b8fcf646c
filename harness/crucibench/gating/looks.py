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
from crucibench.contracts.statistic import BoundedMean, Form, Interval, Number, RowMetric, Share
from crucibench.engine.collect.blocks import Look, derived_from
from crucibench.engine.plan.plan import Plan
from crucibench.gating.decide import ALPHA, LEVEL
from crucibench.gating.evaluate import (
    CheckDraft,
    effect_of,
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
from crucibench.stats.sequences import (
    ASYMPTOTIC,
    BETTING,
    Bets,
    asymptotic_evidence,
    asymptotic_interval,
)
from crucibench.store.documents import read_document
from crucibench.store.run import Run
from crucibench.util import doors
from crucibench.util.atomic import write_json
from crucibench.util.errors import InputError, UnreadableError

Floats = NDArray[np.float64]

NAME = "looks.json"
_FORMAT = 1


class _Gain(NamedTuple):
    """What a rule holds, as a number of samples: more is better.

    Attributes:
        values: one a sample, or one a group of them; its mean is the number.
        bounds: of each value; None where they are not known before samples are seen.
        n: samples.
    """

    values: Floats
    bounds: tuple[float, float] | None
    n: int

    def p(self, null: float, look: Look) -> tuple[float, float]:
        """Returns the p-values of more and of less than a null."""
        if self.bounds is not None:
            return self._bets(look).evidence(null).p
        mean, error = self._moments()
        return asymptotic_evidence(mean, error, self.n, null, most=look.most, level=LEVEL).p

    def interval(self, look: Look) -> Interval | None:
        if self.bounds is not None:
            return self._bets(look).interval(LEVEL)
        return asymptotic_interval(*self._moments(), self.n, most=look.most, level=LEVEL)

    def _bets(self, look: Look) -> Bets:
        assert self.bounds is not None
        return Bets(self.values, *self.bounds, block=look.block, most=look.most)

    def _moments(self) -> tuple[float, float]:
        units = len(self.values)
        return float(self.values.mean()), float(self.values.std(ddof=1)) / math.sqrt(units)


@dataclass
class _Held:
    """One number under one rule, over all looks.

    Attributes:
        passed: the least p-value so far of a loss of the margin or more.
        broken: the least of a loss of the margin or less.
        check: as the last look has it.
    """

    rule: Rule
    passed: float = 1.0
    broken: float = 1.0
    check: dict[str, Any] = field(default_factory=dict)


class LookJudge:
    """The required rules of a policy, held at every look; a `crucibench.engine` judge."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._models: list[str] = []
        self._data = ""
        self._held: dict[tuple[str, Test, str], _Held] = {}
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
        undefined = False
        for rule, test, now, was in self._pairs(look):
            numbers = [look.numbers.get(one) for one in (now, was)]
            tested = _tested(rule, test, numbers, look)
            if tested is None:
                undefined = True
                continue
            held = self._held.setdefault((rule.title, test, str(now)), _Held(rule))
            _hold(held, test, tested, look.infos[now.metric], look)
        outcomes = self._outcomes()
        decided = {name: set[Outcome]() for name in self._models[1:]}
        for (_, _, address), outcome in outcomes.items():
            decided[address.partition(":")[0]].add(outcome)
        return all(
            Outcome.REGRESSION in of or (of == {Outcome.PASS} and not undefined)
            for of in decided.values()
        )

    def _pairs(self, look: Look) -> Iterator[tuple[Rule, Test, Address, Address]]:
        """Yields each number of a candidate under each rule, with the baseline's."""
        for rule in self._policy.required:
            for address in look.numbers:
                mine = address.model != self._models[0] and fits(rule.address, str(address))
                if not mine or look.infos[address.metric].direction not in {"higher", "lower"}:
                    continue
                if rule.floor is not None:
                    yield rule, "floor", address, address
                if rule.margin is not None or rule.no_worse:
                    test: Test = "no-worse" if rule.no_worse else "margin"
                    yield rule, test, address, address._replace(model=self._models[0])

    def _outcomes(self) -> dict[tuple[str, Test, str], Outcome]:
        found: dict[tuple[str, Test, str], Outcome] = {}
        for model in self._models[1:]:
            keys = [key for key in self._held if key[2].partition(":")[0] == model]
            adjusted = holm([self._held[key].broken for key in keys])
            for key, p in zip(keys, adjusted, strict=True):
                found[key] = _outcome(self._held[key], float(p))
        return found

    def write(self, root: Path) -> None:
        """Writes what the looks have shown into the run's folder."""
        if self._last is None:
            doors.unlink(root / NAME, missing_ok=True)
            return
        checks = []
        for (rule, test, address), outcome in self._outcomes().items():
            check = self._held[rule, test, address].check
            message = _message(test, outcome, check, self._last.most)
            model = address.partition(":")[0]
            said = {"address": address, "model": model, "outcome": outcome, "message": message}
            checks.append({**check, **said})
        facts = {"n": self._last.n, "most": self._last.most, "baseline": self._models[0]}
        write_json(root / NAME, {"format": _FORMAT, **facts, "checks": checks})


def looked_verdict(run: Run, policy: Policy, name: str = "") -> GateVerdict:
    """Returns what the looks at a finished run have decided, where its numbers are trusted."""
    try:
        stored = read_document(run.root / NAME)
    except (UnreadableError, OSError):
        return failed(Sides(baseline=run.id, candidate=run.id, policy=name), "no look was taken")
    baseline = str(stored["baseline"])
    sides = Sides(baseline=f"{run.id}:{baseline}", candidate=run.id, policy=name)
    numbers = side_of(run).numbers
    rules = {rule.title: rule for rule in policy.required}
    checks = []
    for one in stored["checks"]:
        check = Check.model_validate(one)
        rule = rules[check.rule]
        draft = CheckDraft(
            tier="required", rule=rule, test=check.test, against=check.against, data=check.data,
            address=check.address, model=check.model,
        )  # fmt: skip
        mine = numbers.get((check.data, check.address))
        other = f"{baseline}{check.address.removeprefix(check.model)}"
        both = [mine, numbers.get((check.data, other)) if check.against == "baseline" else mine]
        if mine is None or None in both:
            doubt: tuple[Outcome, str] | None = (Outcome.INVALID, "the run has no such number")
        else:
            doubt = untrusted("required", rule, [one for one in both if one], check.against)
        if doubt is not None:
            check = check.model_copy(update={"outcome": doubt[0], "message": doubt[1]})
        checks.append(with_effect(check, draft, policy, datetime.now(UTC).date()))
    broken = [
        Check(
            rule=rule.title, tier="required", test="presence", against="policy",
            address=rule.address, outcome=Outcome.INVALID, message="no look had such a number",
            effect=effect_of(Outcome.INVALID, "required"),
        )
        for rule in policy.required
        if rule.title not in {check.rule for check in checks}
    ]  # fmt: skip
    n, most = int(stored["n"]), int(stored["most"])
    note = f"looked at in blocks: {n:,} of {most:,} samples were asked"
    verdict = GateVerdict(sides=sides, outcome=Outcome.PASS, blocking=[], checks=[], notes=[note])
    return with_checks(verdict, [*checks, *broken])


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


def _tested(rule: Rule, test: Test, numbers: list[Number | None], look: Look) -> _Tested | None:
    """Returns what a rule holds, or None where a number of it is undefined so far."""
    forms = [one.form for one in numbers if one is not None and one.make and one.units is None]
    if len(forms) < 2 or numbers[0] is None:
        return None
    info = look.infos[numbers[0].metric]
    sign = 1.0 if info.direction == "higher" else -1.0
    own, other = (_gain([form], [sign], info, look) for form in forms)
    if own is None or other is None:
        return None
    now, was = (sign * float(one.values.mean()) for one in (own, other))
    if test == "floor":
        assert rule.floor is not None
        held = own, sign * rule.floor
        return _Tested(own, held, held, (None, now), rule.floor)
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
    known = [_bounded(form, info) for form in forms]
    parts = [one for one in known if one is not None]
    if len(parts) == len(forms) and all(np.array_equal(parts[0].among, one.among) for one in parts):
        if not parts[0].among.any():
            return None
        values = sum(
            weight * one.values[one.among] for weight, one in zip(weights, parts, strict=True)
        )
        ends = [
            sorted((weight * one.lower, weight * one.upper))
            for weight, one in zip(weights, parts, strict=True)
        ]
        lower, upper = (float(sum(end)) for end in zip(*ends, strict=True))
        return _Gain(np.asarray(values), (lower, upper), len(look.samples))
    table = table_of_trainings(forms, SampleUnits(look.n, "looks"))
    if table.shape[1] < 2 or not np.isfinite(table).all():
        return None
    return _Gain(np.asarray(weights) @ table, None, look.n)


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
    means: BoundedMean | None = form.bounded if isinstance(form, RowMetric) else None
    # Bounds of a log loss are those of the answers that were seen: the metric's own are none.
    if means is None or not (math.isfinite(info.lower) and math.isfinite(info.upper)):
        return None
    if means.values.min() < info.lower or means.values.max() > info.upper:
        return None
    everyone = np.ones(len(means.values), dtype=np.bool_)
    return _Bounded(means.values, everyone, info.lower, info.upper)


def _hold(held: _Held, test: Test, tested: _Tested, info: MetricInfo, look: Look) -> None:
    """Adds a look to what is known of a number under a rule."""
    held.passed = min(held.passed, tested.passes[0].p(tested.passes[1], look)[0])
    held.broken = min(held.broken, tested.breaks[0].p(tested.breaks[1], look)[1])
    interval = tested.gain.interval(look)
    ends = None if interval is None else (interval.lower, interval.upper)
    if test == "floor" and ends is not None and info.direction == "lower":
        ends = -ends[1], -ends[0]
    floor = test == "floor"
    held.check = {
        "rule": held.rule.title, "tier": "required", "test": test, "data": look.data,
        "against": "policy" if floor else "baseline", "bound": tested.bound,
        "baseline": tested.values[0], "candidate": tested.values[1],
        "gain": None if floor else float(tested.gain.values.mean()),
        "lower": ends and ends[0], "upper": ends and ends[1], "level": LEVEL,
        "p": min(held.passed, held.broken), "n": look.n,
        "method": ASYMPTOTIC if tested.gain.bounds is None else BETTING,
        "estimand": "" if floor else "files", "direction": info.direction, "unit": info.unit,
        "percent": (info.lower, info.upper) == (0.0, 1.0) and not info.unit,
    }  # fmt: skip


def _outcome(held: _Held, p_adjusted: float) -> Outcome:
    if held.passed < ALPHA:
        return Outcome.PASS
    return Outcome.REGRESSION if p_adjusted < ALPHA else Outcome.INCONCLUSIVE


_SAYS: dict[tuple[Test, Outcome], str] = {
    ("margin", Outcome.PASS): "a loss of {} is ruled out",
    ("margin", Outcome.REGRESSION): "the loss is shown to be more than {}",
    ("no-worse", Outcome.PASS): "a loss of {} is ruled out",
    ("no-worse", Outcome.REGRESSION): "a loss is shown",
    ("floor", Outcome.PASS): "it is shown to hold {}",
    ("floor", Outcome.REGRESSION): "it is shown not to hold {}",
}


def _message(test: Test, outcome: Outcome, check: Mapping[str, Any], most: int) -> str:
    bound = exact(check["bound"], percent=check["percent"], points=test != "floor")
    said = _SAYS.get((test, outcome), "neither {} nor its opposite is shown").format(bound)
    percent, seen = check["percent"], ""
    if check["gain"] is not None and check["lower"] is not None:
        half = (check["upper"] - check["lower"]) / 2
        seen = f"{change(check['gain'], half=half, percent=percent, sign=True)} "
        seen += f"{between(check['lower'], check['upper'], percent=percent)}, at any look: "
    return f"{seen}{said} by {check['n']:,} of {most:,} samples"
