"""A policy applied to what was measured: a check for each number under each rule."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from crucibench.comparing.results import MetricDifference
from crucibench.gating.expand import Draft, Opponent, drafts_of
from crucibench.gating.explain import explain_difference, explain_floor
from crucibench.gating.policy import Policy, Rule, Tier, Waiver, on_inconclusive
from crucibench.gating.result import (
    WORST_FIRST,
    Check,
    Effect,
    Outcome,
    Sides,
    Verdict,
    WaiverNote,
    WaiverState,
)
from crucibench.gating.sides import Side
from crucibench.gating.verdict import (
    decide_floor,
    decide_margin,
    decide_no_worse,
    detectable,
    n_needed,
    n_needed_for_floor,
    p_value,
    without_spread,
)
from crucibench.stats import holm

_SHOWN_IDS = 20
_WORST: dict[Tier, Effect] = {"required": "block", "supporting": "warn", "advisory": "note"}


@dataclass(frozen=True)
class _Adjusted:
    p: float
    family: int


_UNTESTED = _Adjusted(math.nan, 0)


def evaluate(
    policy: Policy,
    candidate: Side,
    opponents: Sequence[Opponent],
    *,
    today: date,
    sides: Sides,
    version: str = "",
) -> Verdict:
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
    adjusted = _holm(drafts)
    checks = [
        _effect(_check(draft, adjusted.get(position, _UNTESTED)), draft, policy, today)
        for position, draft in enumerate(drafts)
    ]
    waivers = [_waiver_note(waiver, drafts, checks, today) for waiver in policy.waivers]
    blocking = {check.outcome for check in checks if check.effect == "block"}
    errors = [
        f"the waiver of {waiver.rule!r} ran out on {waiver.until}: mend what it excused, and "
        "remove or renew it"
        for waiver in waivers
        if waiver.state == "expired"
    ]
    if errors:
        blocking.add(Outcome.INVALID)
    ordered = [outcome for outcome in WORST_FIRST if outcome in blocking]
    return Verdict(
        crucibench_version=version, sides=sides, outcome=ordered[0] if ordered else Outcome.PASS,
        blocking=ordered, checks=checks, waivers=waivers, errors=errors,
    )  # fmt: skip


def _holm(drafts: Sequence[Draft]) -> dict[int, _Adjusted]:
    """Adjusts over the rules of one tier and one model, those against the anchor included."""
    families: dict[tuple[Tier, str], list[int]] = defaultdict(list)
    for position, draft in enumerate(drafts):
        if draft.difference is not None:
            families[draft.tier, draft.model].append(position)
    adjusted: dict[int, _Adjusted] = {}
    for members in families.values():
        p = [_p(drafts[position]) for position in members]
        tested = sum(not math.isnan(value) for value in p)
        for position, value in zip(members, holm(p), strict=True):
            adjusted[position] = _Adjusted(float(value), tested)
    return adjusted


def _p(draft: Draft) -> float:
    assert draft.difference is not None
    return p_value(draft.difference)


def _check(draft: Draft, adjusted: _Adjusted) -> Check:
    if draft.settled is not None:
        outcome, message = draft.settled
        return _base(draft, outcome, message)
    if draft.difference is not None:
        return _against(draft, draft.difference, adjusted)
    return _floor(draft)


def _against(draft: Draft, difference: MetricDifference, adjusted: _Adjusted) -> Check:
    number, size = draft.number, draft.size
    assert number is not None and size is not None and difference.baseline is not None
    bound = size.of(difference.baseline)
    decide = {"margin": decide_margin, "no-worse": decide_no_worse}[draft.test]
    difference = without_spread(difference, share=number.percent)
    outcome = decide(difference, bound, adjusted.p)
    if outcome is Outcome.INCONCLUSIVE and _is_unchanged(draft, difference):
        outcome, message = Outcome.PASS, "the answers are the same on every sample"
    else:
        message = explain_difference(
            outcome, draft.test, difference, bound, size,
            percent=number.percent, p_adjusted=adjusted.p, family=adjusted.family,
        )  # fmt: skip
    interval, flips = difference.gain_interval, difference.flips
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
        family=adjusted.family, n=difference.n, detectable=detectable(difference),
        n_needed=n_needed(difference, bound), method=difference.method,
        lost=None if flips is None else len(flips.lost),
        gained=None if flips is None else len(flips.gained),
        lost_ids=[] if flips is None else [str(name) for name in flips.lost[:_SHOWN_IDS]],
    )  # fmt: skip


def _is_unchanged(draft: Draft, difference: MetricDifference) -> bool:
    if difference.delta != 0:
        return False
    # Of real numbers that are alike on every sample, no luck of the draw is left to be had.
    return (difference.identical and difference.interval is None) or draft.unchanged()


def _floor(draft: Draft) -> Check:
    number, floor = draft.number, draft.rule.floor
    assert number is not None and number.value is not None and floor is not None
    outcome = decide_floor(number.lower, number.upper, number.direction, floor)
    return _base(
        draft, outcome, explain_floor(outcome, number, floor),
        bound=floor, candidate=number.value, lower=number.lower, upper=number.upper,
        level=number.level, n=number.n, method=number.method,
        n_needed=n_needed_for_floor(number.value, number.lower, number.upper, number.n, floor),
    )  # fmt: skip


def _base(draft: Draft, outcome: Outcome, message: str, **numbers: object) -> Check:
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


def _effect(check: Check, draft: Draft, policy: Policy, today: date) -> Check:
    effect = _raw_effect(check.outcome, draft.tier, draft.rule)
    if effect != "block" or check.outcome is Outcome.INVALID:
        return check.model_copy(update={"effect": effect})
    for waiver in policy.waivers:
        if waiver.covers(draft.rule, draft.address) and not waiver.expired(today):
            return check.model_copy(update={"effect": "warn", "waived": waiver.reason})
    return check.model_copy(update={"effect": effect})


def _raw_effect(outcome: Outcome, tier: Tier, rule: Rule) -> Effect:
    if outcome in {Outcome.PASS, Outcome.SKIPPED}:
        return "none"
    if outcome is not Outcome.INCONCLUSIVE:
        return _WORST[tier]
    asked = on_inconclusive(tier, rule)
    if asked == "pass":
        return "none"
    return "note" if tier == "advisory" else asked


def _waiver_note(
    waiver: Waiver, drafts: Sequence[Draft], checks: Sequence[Check], today: date
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


def failed(sides: Sides, error: str, version: str = "") -> Verdict:
    """Returns the verdict where nothing could be judged: a run is broken or not comparable."""
    return Verdict(
        crucibench_version=version, sides=sides, outcome=Outcome.INVALID,
        blocking=[Outcome.INVALID], checks=[], errors=[error],
    )  # fmt: skip
