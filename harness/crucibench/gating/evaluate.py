"""A policy applied to what was measured: a check for each number under each rule."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from typing import Literal

from crucibench.comparing.power import POWER, n_needed, recipe_plan
from crucibench.comparing.results import Comparison, MetricDifference
from crucibench.contracts.rows import Address, parse_address
from crucibench.gating.decide import (
    decide_floor,
    decide_margin,
    decide_no_worse,
    detectable,
    is_worse,
    n_needed_for_floor,
    p_beyond,
    p_value,
    without_spread,
)
from crucibench.gating.policy import (
    Policy,
    Rule,
    Size,
    Tier,
    Waiver,
    fits,
    is_pattern,
    on_inconclusive,
    required_verdict,
)
from crucibench.gating.result import (
    WORST_FIRST,
    Against,
    Check,
    Effect,
    GateVerdict,
    Outcome,
    Sides,
    Test,
    WaiverNote,
    WaiverState,
)
from crucibench.gating.sides import Broken, GatedNumber, GateSide, Key
from crucibench.gating.text import explain_difference, explain_floor, listed
from crucibench.stats import holm
from crucibench.util.suggest import hint

_TRUST = {"valid": 2, "suspect": 1, "invalid": 0}


@dataclass(frozen=True, kw_only=True)
class Opponent:
    """What a candidate is held against.

    Attributes:
        against: which of the two it is.
        side: its numbers.
        comparison: the candidate's differences from it.
        unchanged: whether candidate and opponent answer alike on all that a number is made of.
    """

    against: Literal["baseline", "anchor"]
    side: GateSide
    comparison: Comparison
    unchanged: Callable[[Key], bool] = lambda key: False

    @cached_property
    def differences(self) -> dict[Key, MetricDifference]:
        """The differences by data set and address."""
        return {(found.data, str(found.address)): found for found in self.comparison.differences}

    def refusal(self, data: str, address: Address) -> str:
        """Says why a number was not compared."""
        cell = f"{address.model}:{address.suite}/{address.scenario}"
        for refusal in self.comparison.refused:
            if refusal.cell == cell and refusal.data in {"", data}:
                return refusal.reason
        return "it was not compared"


@dataclass(frozen=True, kw_only=True)
class CheckDraft:
    """A check that is still to be decided, or was decided before any statistics.

    Attributes:
        tier: of the rule.
        rule: which.
        test: what is asked.
        against: of what.
        data: the data set.
        address: the number's, or the pattern.
        model: whose number; "" where nothing fits.
        number: the candidate's.
        difference: from the opponent.
        size: margin or loss to detect.
        decided: outcome and message, where no statistics are needed.
        unchanged: whether both answer alike.
    """

    tier: Tier
    rule: Rule
    test: Test
    against: Against
    data: str = ""
    address: str
    model: str = ""
    number: GatedNumber | None = None
    difference: MetricDifference | None = None
    size: Size | None = None
    decided: tuple[Outcome, str] | None = None
    unchanged: Callable[[], bool] = lambda: False


def drafts_of(
    policy: Policy, candidate: GateSide, opponents: Sequence[Opponent]
) -> list[CheckDraft]:
    """Returns a draft for each number under each rule, in the policy's order."""
    return [
        draft
        for tier, rule in policy.rules()
        for draft in _of_rule(tier, rule, candidate, opponents)
    ]


def _of_rule(
    tier: Tier, rule: Rule, candidate: GateSide, opponents: Sequence[Opponent]
) -> list[CheckDraft]:
    baseline = opponents[0].side
    keys = dict.fromkeys(
        key for side in (candidate, baseline) for key in side.numbers if rule_fits(rule, key)
    )
    # Where both sides have a recipe it stands for its trainings, unless a rule names one of them.
    recipes = {**baseline.trainings, **candidate.trainings}
    both = candidate.models & baseline.models
    trained = {key for key, recipe in recipes.items() if (key[0], recipe) in both}
    keys = {
        key: None
        for key in keys
        if (key[0], _model(key[1])) not in trained or not is_pattern(_model(rule.address))
    }
    keys |= dict.fromkeys(_crashed(rule, candidate, baseline))
    drafts: list[CheckDraft] = []
    aimless = 0
    for key in keys:
        number = candidate.numbers.get(key) or baseline.numbers.get(key)
        if number is not None and number.direction not in {"higher", "lower"}:
            aimless += 1
            continue
        drafts += _of_number(tier, rule, key, candidate, opponents)
    if not drafts:
        message = _nothing(rule, aimless, [*candidate.numbers, *baseline.numbers])
        drafts.append(_presence(tier, rule, ("", rule.address), message))
    elif all(_is_hollow(draft) for draft in drafts):
        message = "none of the numbers that the rule fits is defined"
        drafts.append(_presence(tier, rule, ("", rule.address), message))
    return drafts


_UNDEFINED = "undefined in both runs: "


def _is_hollow(draft: CheckDraft) -> bool:
    return draft.decided is not None and draft.decided[1].startswith(_UNDEFINED)


def rule_fits(rule: Rule, key: Key) -> bool:
    """Whether a rule is of a number, (data, address)."""
    return fits(rule.address, key[1]) and fits(rule.data, key[0])


def _of_number(
    tier: Tier, rule: Rule, key: Key, candidate: GateSide, opponents: Sequence[Opponent]
) -> Iterator[CheckDraft]:
    data, number = key[0], candidate.numbers.get(key)
    known = number or opponents[0].side.numbers.get(key)
    address = parse_address(key[1]) if known is None else known.address
    if number is None:
        message = f"the candidate {candidate.why_missing(data, address)}"
        yield _presence(tier, rule, key, message)
        return
    if rule.floor is not None:
        yield CheckDraft(
            tier=tier, rule=rule, test="floor", against="policy", data=data, address=key[1],
            model=address.model, number=number, decided=untrusted(tier, rule, [number])
            or _no_value(number),
        )  # fmt: skip
    if rule.margin is None and not rule.no_worse:
        return
    for opponent in opponents:
        yield _paired(tier, rule, key, number, opponent)


def _paired(
    tier: Tier, rule: Rule, key: Key, number: GatedNumber, opponent: Opponent
) -> CheckDraft:
    decided, difference = _before_statistics(tier, rule, key, number, opponent), None
    if decided is None:
        difference = opponent.differences.get(key)
        assert difference is not None
    return CheckDraft(
        tier=tier, rule=rule, test="no-worse" if rule.no_worse else "margin",
        against=opponent.against, data=key[0], address=key[1], model=number.address.model,
        number=number, difference=difference, size=rule.detect if rule.no_worse else rule.margin,
        decided=decided, unchanged=lambda: opponent.unchanged(key),
    )  # fmt: skip


def _before_statistics(
    tier: Tier, rule: Rule, key: Key, number: GatedNumber, opponent: Opponent
) -> tuple[Outcome, str] | None:
    """Returns what needs no statistics: a number that is missing, undefined or not trusted."""
    other = opponent.side.numbers.get(key) or _recomputed(key, opponent)
    if other is None:
        return _without_opponent(key, number.address, opponent)
    doubted = untrusted(tier, rule, [number, other], opponent.against)
    if doubted is not None:
        return doubted
    return _undefined(number, other, opponent.against) or _uncompared(key, number, opponent)


def _recomputed(key: Key, opponent: Opponent) -> GatedNumber | None:
    """Returns a number that the opponent's rows lack but its records give: a newer metric."""
    found = opponent.differences.get(key)
    if found is None or found.baseline is None:
        return None
    return GatedNumber(
        address=found.address, data=found.data, value=found.baseline, n=found.n,
        direction=found.direction, verdict=found.verdicts[0],
    )  # fmt: skip


def _undefined(number: GatedNumber, other: GatedNumber, against: str) -> tuple[Outcome, str] | None:
    if number.value is None and other.value is None:
        return Outcome.SKIPPED, f"{_UNDEFINED}{number.reason}"
    if other.value is None:
        return Outcome.INVALID, f"undefined in the {against}: {other.reason}"
    return _no_value(number)


def _uncompared(key: Key, number: GatedNumber, opponent: Opponent) -> tuple[Outcome, str] | None:
    difference = opponent.differences.get(key)
    if difference is None:
        why = opponent.refusal(key[0], number.address)
    elif difference.gain is None or difference.baseline is None:
        why = difference.reason or "there is no difference"
    else:
        return None
    return Outcome.INVALID, f"not comparable with the {opponent.against}: {why}"


def _without_opponent(key: Key, address: Address, opponent: Opponent) -> tuple[Outcome, str]:
    data, model = key[0], address.model
    if (data, model) not in opponent.side.models:
        return Outcome.SKIPPED, f"a new model: the {opponent.against} has none of that name"
    why = opponent.side.why_missing(data, address)
    if opponent.against == "anchor":
        return Outcome.SKIPPED, f"the anchor {why}"
    return Outcome.INVALID, f"the baseline {why}; make a new baseline"


def untrusted(
    tier: Tier, rule: Rule, numbers: Sequence[GatedNumber], against: str = ""
) -> tuple[Outcome, str] | None:
    """Returns the outcome of numbers that a rule does not trust, and why; None where it does."""
    required = required_verdict(tier, rule)
    whose = ("the candidate's", f"the {against}'s")
    for owner, number in zip(whose, numbers, strict=False):
        if _TRUST.get(number.verdict, 0) < _TRUST[required]:
            why = f": {listed(list(number.findings))}" if number.findings else ""
            wanted = "" if number.verdict == "invalid" else f", and the rule requires {required}"
            return Outcome.INVALID, f"{owner} number is {number.verdict}{wanted}{why}"
    return None


def _no_value(number: GatedNumber) -> tuple[Outcome, str] | None:
    if number.value is not None:
        return None
    return Outcome.INVALID, f"the candidate's number is undefined: {number.reason}"


def _presence(tier: Tier, rule: Rule, key: Key, message: str) -> CheckDraft:
    model = "" if key[1] == rule.address and is_pattern(rule.address) else _model(key[1])
    return CheckDraft(
        tier=tier, rule=rule, test="presence", against="policy", data=key[0], address=key[1],
        model=model, decided=(Outcome.INVALID, message),
    )  # fmt: skip


def _model(address: str) -> str:
    return address.partition(":")[0]


def _nothing(rule: Rule, aimless: int, known: Sequence[Key]) -> str:
    if aimless:
        return "the rule fits only numbers that have no better side, so none can be judged"
    return "no number fits the rule" + hint(rule.address, {address for _, address in known})


def _crashed(rule: Rule, candidate: GateSide, baseline: GateSide) -> Iterator[Key]:
    """Yields the numbers that the candidate's failed cells should have given."""
    for cell in candidate.broken:
        if cell.failed:
            for suffix in _suffixes(cell, candidate, baseline):
                key = (cell.data, f"{cell.model}:{cell.suite}/{cell.scenario}{suffix}")
                if rule_fits(rule, key):
                    yield key


def _suffixes(cell: Broken, candidate: GateSide, baseline: GateSide) -> list[str]:
    """Returns ``[POINT]/METRIC@GROUP`` as other models have it, else as the suite declares."""
    seen = {
        str(number.address).partition(f":{cell.suite}/{cell.scenario}")[2]
        for side in (candidate, baseline)
        for number in side.numbers.values()
        if (number.address.suite, number.address.scenario) == (cell.suite, cell.scenario)
    }
    if seen:
        return sorted(seen)
    points = [f"[{point}]" if point else "" for point in cell.points] or [""]
    metrics = candidate.metrics.get(cell.suite, ())
    return [f"{point}/{metric}" for point in points for metric in metrics]


_SHOWN_IDS = 20
_WORST: dict[Tier, Effect] = {"required": "block", "supporting": "warn", "advisory": "note"}


@dataclass(frozen=True)
class _Adjusted:
    p: float
    family: int


_UNTESTED = _Adjusted(math.nan, 0)


def evaluate(
    policy: Policy,
    candidate: GateSide,
    opponents: Sequence[Opponent],
    *,
    today: date,
    sides: Sides,
    version: str = "",
) -> GateVerdict:
    """Judges a candidate.

    Args:
        policy: the rules.
        candidate: what was measured.
        opponents: the baseline first, then the anchor, if there is one.
        today: the day that waivers are held against.
        sides: names for the verdict.
        version: of crucibench.
    """
    drafts = drafts_of(policy, candidate, opponents)
    adjusted = _holm(drafts, candidate.headline)
    checks = [
        with_effect(
            _check(draft, adjusted.get(position, _UNTESTED), policy.power), draft, policy, today
        )
        for position, draft in enumerate(drafts)
    ]
    waivers = [_waiver_note(waiver, drafts, checks, today) for waiver in policy.waivers]
    errors = [
        f"the waiver of {waiver.rule!r} ran out on {waiver.until}: mend what it excused, and "
        "remove or renew it"
        for waiver in waivers
        if waiver.state == "expired"
    ]
    verdict = GateVerdict(
        crucibench_version=version, sides=sides, outcome=Outcome.PASS, blocking=[], checks=[],
        waivers=waivers, errors=errors,
    )  # fmt: skip
    return with_checks(verdict, checks)


def with_checks(verdict: GateVerdict, checks: Sequence[Check]) -> GateVerdict:
    """Returns a verdict with more checks, and the outcome that all of them make."""
    every = [*verdict.checks, *checks]
    blocking = {check.outcome for check in every if check.effect == "block"}
    if verdict.errors:
        blocking.add(Outcome.INVALID)
    ordered = [outcome for outcome in WORST_FIRST if outcome in blocking]
    outcome = ordered[0] if ordered else Outcome.PASS
    return verdict.model_copy(update={"checks": every, "blocking": ordered, "outcome": outcome})


def _holm(drafts: Sequence[CheckDraft], headline: Collection[str]) -> dict[int, _Adjusted]:
    """Adjusts over the rules of one tier and one model, those against the anchor included.

    Primary endpoints are one family, all others another.
    """
    families: dict[tuple[Tier, str, bool], list[int]] = defaultdict(list)
    for position, draft in enumerate(drafts):
        if draft.difference is not None:
            primary = draft.rule.primary
            if primary is None:
                primary = draft.difference.address.place in headline
            families[draft.tier, draft.model, primary].append(position)
    adjusted: dict[int, _Adjusted] = {}
    for members in families.values():
        p = [_p(drafts[position]) for position in members]
        tested = sum(not math.isnan(value) for value in p)
        for position, value in zip(members, holm(p), strict=True):
            adjusted[position] = _Adjusted(float(value), tested)
    return adjusted


def _p(draft: CheckDraft) -> float:
    difference, size = draft.difference, draft.size
    assert difference is not None
    if draft.test == "margin" and size is not None and difference.baseline is not None:
        return p_beyond(difference, size.of(difference.baseline))
    return p_value(difference)


def _check(draft: CheckDraft, adjusted: _Adjusted, power: float) -> Check:
    if draft.decided is not None:
        outcome, message = draft.decided
        return _base(draft, outcome, message)
    if draft.difference is not None:
        return _against(draft, draft.difference, adjusted, power)
    return _floor(draft)


def _against(
    draft: CheckDraft, difference: MetricDifference, adjusted: _Adjusted, power: float = POWER
) -> Check:
    number, size = draft.number, draft.size
    assert number is not None and size is not None and difference.baseline is not None
    bound = size.of(difference.baseline)
    tests: dict[Test, Callable[[MetricDifference, float, float], Outcome]] = {
        "margin": decide_margin,
        "no-worse": partial(decide_no_worse, power=power),
    }
    decide = tests[draft.test]
    difference = without_spread(difference, share=number.percent)
    outcome = decide(difference, bound, adjusted.p)
    if outcome is Outcome.INCONCLUSIVE and draft.test == "margin" and is_worse(difference):
        outcome = Outcome(draft.rule.treat_as or outcome)
    if outcome is Outcome.INCONCLUSIVE and _is_unchanged(draft, difference):
        outcome, message = Outcome.PASS, "the answers are the same on every sample"
    else:
        message = explain_difference(
            outcome, draft.test, difference, bound, size,
            percent=number.percent, p_adjusted=adjusted.p, family=adjusted.family, power=power,
        )  # fmt: skip
    interval, flips, spread = difference.gain_interval, difference.changes, difference.spread
    raw = p_value(difference)
    return _base(
        draft, outcome, message,
        bound=bound, baseline=difference.baseline, candidate=difference.candidate,
        gain=difference.gain,
        lower=None if interval is None else interval[0],
        upper=None if interval is None else interval[1],
        level=None if difference.interval is None else difference.interval.level,
        p=None if math.isnan(raw) else raw,
        p_adjusted=None if math.isnan(adjusted.p) else adjusted.p,
        family=adjusted.family, n=difference.n, detectable=detectable(difference, power),
        n_needed=n_needed(difference, bound, power), method=difference.method,
        estimand="recipe" if spread else "files",
        trainings=spread.trainings if spread else None,
        plan=recipe_plan(spread, difference.n, bound, power) if spread else [],
        lost=None if flips is None else len(flips.lost),
        gained=None if flips is None else len(flips.gained),
        lost_ids=[] if flips is None else [str(name) for name in flips.lost[:_SHOWN_IDS]],
    )  # fmt: skip


def _is_unchanged(draft: CheckDraft, difference: MetricDifference) -> bool:
    if difference.delta != 0:
        return False
    # Of real numbers that are alike on every sample, no luck of the draw is left to be had.
    return (difference.identical and difference.interval is None) or draft.unchanged()


def _floor(draft: CheckDraft) -> Check:
    number, floor = draft.number, draft.rule.floor
    assert number is not None and number.value is not None and floor is not None
    outcome = decide_floor(number.lower, number.upper, number.direction, floor)
    return _base(
        draft, outcome, explain_floor(outcome, number, floor),
        bound=floor, candidate=number.value, lower=number.lower, upper=number.upper,
        level=number.level, n=number.n, method=number.method,
        n_needed=n_needed_for_floor(number.value, number.lower, number.upper, number.n, floor),
    )  # fmt: skip


def _base(draft: CheckDraft, outcome: Outcome, message: str, **numbers: object) -> Check:
    known = draft.number
    return Check.model_validate(
        {
            "rule": draft.rule.title, "tier": draft.tier, "test": draft.test,
            "against": draft.against, "data": draft.data, "model": draft.model,
            "address": draft.address, "outcome": outcome, "message": message,
            "direction": known.direction if known else "", "unit": known.unit if known else "",
            "percent": known.percent if known else False, **numbers,
        }
    )  # fmt: skip


def with_effect(check: Check, draft: CheckDraft, policy: Policy, today: date) -> Check:
    """Returns a check with what it does to the gate, by its tier, its rule and the waivers."""
    effect = _raw_effect(check.outcome, draft.tier, draft.rule)
    if effect != "block" or check.outcome is Outcome.INVALID:
        return check.model_copy(update={"effect": effect})
    for waiver in policy.waivers:
        if waiver.covers(draft.rule, draft.address) and not waiver.expired(today):
            return check.model_copy(update={"effect": "warn", "waived": waiver.reason})
    return check.model_copy(update={"effect": effect})


def _raw_effect(outcome: Outcome, tier: Tier, rule: Rule) -> Effect:
    if outcome is Outcome.INCONCLUSIVE and tier != "advisory":
        asked = on_inconclusive(tier, rule)
        return "none" if asked == "pass" else asked
    return effect_of(outcome, tier)


def effect_of(outcome: Outcome, tier: Tier) -> Effect:
    """Returns what an outcome does to the gate in a tier."""
    return "none" if outcome in {Outcome.PASS, Outcome.SKIPPED} else _WORST[tier]


def _waiver_note(
    waiver: Waiver, drafts: Sequence[CheckDraft], checks: Sequence[Check], today: date
) -> WaiverNote:
    covered = [
        check
        for draft, check in zip(drafts, checks, strict=True)
        if waiver.covers(draft.rule, draft.address)
        and check.outcome in {Outcome.REGRESSION, Outcome.INCONCLUSIVE}
    ]
    state: WaiverState = "expired" if waiver.expired(today) else "active" if covered else "unused"
    return WaiverNote(
        rule=waiver.rule, until=waiver.until.isoformat(), reason=waiver.reason, state=state
    )


def failed(sides: Sides, error: str, version: str = "") -> GateVerdict:
    """Returns the verdict where nothing could be judged: a run is broken or not comparable."""
    return GateVerdict(
        crucibench_version=version, sides=sides, outcome=Outcome.INVALID,
        blocking=[Outcome.INVALID], checks=[], errors=[error],
    )  # fmt: skip
