from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from crucibench.comparing.results import MetricDifference, Refusal
from crucibench.gating.result import Check, GateVerdict, Outcome
from crucibench.gating.sides import Broken

Make = Callable[..., MetricDifference]
Judge = Callable[..., GateVerdict]

TOP, AUC = "m:s/c/top-1", "m:s/c/auroc"
MARGIN = {"required": [{"address": "*:s/c/top-1", "margin": 0.02}]}
ALL = {"required": [{"address": "*", "margin": 0.02}]}


def only(verdict: GateVerdict) -> Check:
    (check,) = verdict.checks
    return check


@pytest.mark.parametrize(
    ("gain", "half", "outcome", "code"),
    [(0.0, 0.01, "pass", 0), (-0.1, 0.01, "regression", 1), (0.0, 0.1, "inconclusive", 3)],
)
def test_outcomes_and_exit_codes(
    difference: Make, judge: Judge, gain: float, half: float, outcome: str, code: int
) -> None:
    verdict = judge(MARGIN, [difference(gain=gain, half=half, p=0.001)])
    assert (verdict.outcome, verdict.exit_code) == (outcome, code)
    assert only(verdict).outcome == outcome
    assert verdict.blocking == ([] if code == 0 else [outcome])


def test_a_regression_says_by_how_much(difference: Make, judge: Judge) -> None:
    check = only(judge(MARGIN, [difference(gain=-0.05, half=0.01, p=1e-9, flips=(60, 10))]))
    assert check.message == (
        "worse by 5.0 points, interval [\u22126.0, \u22124.0], all beyond the margin of 2 points; "
        "of 1,000 samples 60 got wrong, 10 right (p 4.1e-09)"
    )
    assert (check.lost, check.gained, check.lost_ids[0]) == (60, 10, "l0")
    assert (check.gain, check.bound, check.family) == (pytest.approx(-0.05), 0.02, 1)


def test_inconclusive_says_what_n_shows_and_needs(difference: Make, judge: Judge) -> None:
    check = only(judge(MARGIN, [difference(gain=-0.005, half=0.04, n=200)]))
    assert check.outcome is Outcome.INCONCLUSIVE
    assert "200 samples show a loss from 5.72 points up" in check.message
    assert check.n_needed is not None and 1600 < check.n_needed < 1660
    assert f"a margin of 2 points needs about {check.n_needed:,}" in check.message
    near = only(judge(MARGIN, [difference(gain=-0.015, half=0.01, p=0.01, n=200)]))
    assert near.outcome is Outcome.INCONCLUSIVE
    assert "worse than before, not shown to be more than the margin of 2 points" in near.message
    equal = only(judge(MARGIN, [difference(gain=-0.01, half=0.0101, p=0.052, n=20000)]))
    assert "too close to the margin of 2 points to tell" in equal.message


@pytest.mark.parametrize("treat_as", ["inconclusive", "regression", "pass"])
def test_a_loss_that_may_be_within_the_margin(
    difference: Make, judge: Judge, treat_as: str
) -> None:
    policy = {"required": [{"address": "*", "margin": 0.02, "treat_as": treat_as}]}
    worse = only(judge(policy, [difference(gain=-0.02, half=0.0125, p=0.001)]))
    assert worse.outcome == treat_as
    assert "worse than before, not shown to be more than the margin" in worse.message
    unclear = only(judge(policy, [difference(gain=-0.02, half=0.0225, p=0.08)]))
    assert unclear.outcome is Outcome.INCONCLUSIVE
    beyond = only(judge(policy, [difference(gain=-0.06, half=0.0125, p=0.001)]))
    assert beyond.outcome is Outcome.REGRESSION


def test_holm_is_over_the_required_rules_of_one_model(difference: Make, judge: Judge) -> None:
    names = [f"{model}:s/c/{metric}" for model in "ab" for metric in ("x", "y", "z")]
    # Half-widths are 1.96 standard errors: p of a loss of 2 points or less is 0.02.
    found = [difference(name, gain=-0.05, half=0.03 * 1.96 / 2.3263, p=1e-5) for name in names]
    verdict = judge({"required": [{"address": "*", "margin": 0.02}]}, found)
    assert {check.outcome for check in verdict.checks} == {Outcome.INCONCLUSIVE}
    assert {check.family for check in verdict.checks} == {3}
    assert [check.p_adjusted for check in verdict.checks] == pytest.approx([0.06] * 6, rel=1e-3)
    split = {
        "required": [{"address": "a:s/c/x", "margin": 0.02}],
        "supporting": [{"address": "*:s/c/[yz]", "margin": 0.02}, {"address": "*:s/c/y",
                                                                  "margin": 0.02}],
    }  # fmt: skip
    verdict = judge(split, found)
    first = verdict.checks[0]
    assert (first.family, first.outcome) == (1, Outcome.REGRESSION)
    assert first.p_adjusted == pytest.approx(0.02, rel=1e-3)


def test_a_pass_is_not_corrected(difference: Make, judge: Judge) -> None:
    found = [difference(f"m:s/c/x{k}", half=0.02) for k in range(20)]
    assert judge(ALL, found).outcome is Outcome.PASS


def test_only_required_rules_decide(difference: Make, judge: Judge) -> None:
    bad = [difference(gain=-0.1, p=1e-9)]
    for tier, effect in (("required", "block"), ("supporting", "warn"), ("advisory", "note")):
        verdict = judge({tier: MARGIN["required"]}, bad)
        assert only(verdict).effect == effect
        assert verdict.exit_code == (1 if tier == "required" else 0)


@pytest.mark.parametrize(
    ("tier", "asked", "effect"),
    [
        ("required", None, "block"), ("required", "warn", "warn"), ("required", "pass", "none"),
        ("supporting", None, "warn"), ("supporting", "pass", "none"), ("advisory", None, "note"),
    ],
)  # fmt: skip
def test_on_inconclusive(
    difference: Make, judge: Judge, tier: str, asked: str | None, effect: str
) -> None:
    rule: dict[str, Any] = {"address": TOP, "margin": 0.02}
    if asked:
        rule["on_inconclusive"] = asked
    verdict = judge({tier: [rule]}, [difference(half=0.1)])
    assert only(verdict).outcome is Outcome.INCONCLUSIVE
    assert only(verdict).effect == effect
    assert verdict.exit_code == (3 if effect == "block" else 0)


def test_what_is_missing_is_invalid(difference: Make, judge: Judge) -> None:
    found = [difference(TOP), difference(AUC), difference("k:s/c/top-1")]
    gone = judge(ALL, found, lost=(AUC, "k:s/c/top-1"))
    by_address = {check.address: check for check in gone.checks}
    assert (gone.outcome, gone.exit_code) == (Outcome.INVALID, 4)
    assert by_address[AUC].message == "the candidate has no such number"
    assert by_address["k:s/c/top-1"].message == "the candidate has no model 'k' on data 'd'"
    fresh = judge(ALL, found, missing=(AUC,))
    assert fresh.exit_code == 4
    assert any("the baseline has no such number; make a new" in c.message for c in fresh.checks)


def test_a_crashed_cell_is_invalid_even_if_it_crashed_in_both(
    difference: Make, judge: Judge
) -> None:
    crashed = Broken(
        data="d", model="k", suite="s", scenario="c", points=("",), failed=True, reason="no memory"
    )
    for policy in (MARGIN, {"required": [{"address": "*:s/c/top-1", "floor": 0.1}]}):
        verdict = judge(
            policy, [difference(TOP)], broken=(crashed,), candidate_models=("k",),
            baseline_models=("k",),
        )  # fmt: skip
        bad = [check for check in verdict.checks if check.outcome is Outcome.INVALID]
        assert [check.address for check in bad] == ["k:s/c/top-1"]
        assert "its cell failed: no memory" in bad[0].message
    # A cell of no rule's concern, and one that was skipped as planned, hold nobody up.
    other = Broken(
        data="d", model="k", suite="t", scenario="c", points=("p",), failed=True, reason="x"
    )
    calm = {"broken": (other,), "candidate_models": ("k",), "baseline_models": ("k",)}
    assert judge(MARGIN, [difference(TOP)], **calm).exit_code == 0
    # Where no other model has numbers of it, the suite says which there should be.
    rule = {"required": [{"address": "*:t/*/acc", "floor": 0.1}]}
    verdict = judge(rule, [difference(TOP)], metrics={"t": ("acc", "other")}, **calm)
    assert [check.address for check in verdict.checks] == ["k:t/c[p]/acc"]


def test_a_new_model_meets_the_floors_only(difference: Make, judge: Judge) -> None:
    new = "new:s/c/top-1"
    rule = {"required": [{"address": "*:s/c/top-1", "margin": 0.02, "floor": 0.85}]}
    found = [difference(TOP), difference(new)]
    verdict = judge(rule, found, missing=(new,))
    assert verdict.exit_code == 0
    outcomes = {(check.address, check.test): check.outcome for check in verdict.checks}
    assert outcomes == {
        (TOP, "floor"): "pass", (TOP, "margin"): "pass",
        (new, "floor"): "pass", (new, "margin"): "skipped",
    }  # fmt: skip
    low = {new: {"value": 0.5, "lower": 0.49, "upper": 0.51}}
    assert judge(rule, found, missing=(new,), candidate=low).exit_code == 1


def test_nothing_that_fits_is_invalid(difference: Make, judge: Judge) -> None:
    verdict = judge(
        {"required": [{"address": "m:s/c/top1", "margin": 0.02}]}, [difference(TOP)]
    )  # fmt: skip
    assert verdict.exit_code == 4
    assert only(verdict).message == "no number fits the rule; did you mean 'm:s/c/top-1'?"
    other = {"required": [{"address": "*:s/c/top-1", "data": "e*", "margin": 0.02}]}
    assert judge(other, [difference(TOP)]).exit_code == 4


def test_numbers_without_a_better_side_are_left_out(difference: Make, judge: Judge) -> None:
    aimless = difference("m:s/c/temperature", direction="target=1")
    assert len(judge(ALL, [difference(TOP), aimless]).checks) == 1
    verdict = judge({"required": [{"address": "*/temperature", "margin": 0.1}]}, [aimless])
    assert verdict.exit_code == 4
    assert "no better side" in only(verdict).message


def test_undefined_numbers(difference: Make, judge: Judge) -> None:
    nothing = {"value": None, "reason": "no positives"}
    found = [difference(TOP), difference(AUC)]
    gone = judge(ALL, found, candidate={AUC: nothing})
    assert gone.exit_code == 4
    assert gone.checks[1].message == "the candidate's number is undefined: no positives"
    came = judge(ALL, found, baseline={AUC: nothing})
    assert came.checks[1].message == "undefined in the baseline: no positives"
    both = judge(ALL, found, candidate={AUC: nothing}, baseline={AUC: nothing})
    assert both.exit_code == 0 and both.checks[1].outcome is Outcome.SKIPPED
    alone = {"required": [{"address": AUC, "margin": 0.02}]}
    hollow = judge(alone, found, candidate={AUC: nothing}, baseline={AUC: nothing})
    assert hollow.exit_code == 4
    floor = {"required": [{"address": AUC, "floor": 0.5}]}
    assert judge(floor, found, candidate={AUC: nothing}).exit_code == 4


def test_required_verdicts(difference: Make, judge: Judge) -> None:
    doubt = {TOP: {"verdict": "suspect", "findings": ("gradients are masked",)}}
    invalid = {TOP: {"verdict": "invalid"}}
    good = [difference(TOP)]
    verdict = judge(MARGIN, good, candidate=doubt)
    assert verdict.exit_code == 4
    assert only(verdict).message == (
        "the candidate's number is suspect, and the rule requires valid: gradients are masked"
    )
    assert judge(MARGIN, good, baseline=doubt).exit_code == 4
    allowed = {"required": [{**MARGIN["required"][0], "require_verdict": "suspect"}]}
    assert judge(allowed, good, candidate=doubt).exit_code == 0
    assert judge(allowed, good, candidate=invalid).exit_code == 4
    supporting = judge({"supporting": MARGIN["required"]}, good, candidate=doubt)
    assert only(supporting).outcome is Outcome.PASS


def test_what_is_not_comparable_is_invalid(difference: Make, judge: Judge) -> None:
    refused = (Refusal("m:s/c", "scenario.parameters.eps is 0.1 and 0.2", data="d"),)
    verdict = judge(MARGIN, [difference(TOP)], refused=refused)
    assert verdict.exit_code == 4
    assert only(verdict).message == (
        "not comparable with the baseline: scenario.parameters.eps is 0.1 and 0.2"
    )


def test_waivers(difference: Make, judge: Judge) -> None:
    bad = [difference(TOP, gain=-0.1, p=1e-9), difference(AUC, gain=-0.1, p=1e-9)]

    def waived(rule: str, until: date, **more: Any) -> GateVerdict:
        waiver = {"rule": rule, "until": until, "reason": "smaller model"}
        return judge({**ALL, "waivers": [waiver]}, bad, **more)

    everything = waived("*", date(2026, 6, 15))
    assert everything.exit_code == 0
    assert {check.effect for check in everything.checks} == {"warn"}
    assert {check.outcome for check in everything.checks} == {Outcome.REGRESSION}
    assert (everything.waivers[0].state, everything.waivers[0].reason) == (
        "active", "smaller model",
    )  # fmt: skip
    one = waived(TOP, date(2026, 6, 15))
    assert one.exit_code == 1
    assert [check.effect for check in one.checks] == ["warn", "block"]
    late = waived("*", date(2026, 6, 14))
    assert late.exit_code == 4 and late.blocking == [Outcome.INVALID, Outcome.REGRESSION]
    assert "ran out on 2026-06-14" in late.errors[0]
    # It excuses a loss, not a number that is missing.
    assert waived("*", date(2026, 6, 15), lost=(TOP,)).exit_code == 4
    policy = {**ALL, "waivers": [{"rule": "*", "until": date(2026, 7, 1), "reason": "r"}]}
    unused = judge(policy, [difference(TOP)])
    assert (unused.exit_code, unused.waivers[0].state) == (0, "unused")
    stale = judge(policy, [difference(TOP)], today=date(2026, 8, 1))
    assert stale.exit_code == 4


def test_an_anchor_stops_slow_erosion(difference: Make, judge: Judge) -> None:
    since_last = [difference(TOP, gain=-0.01, half=0.005, p=0.001), difference(AUC)]
    since_first = [difference(TOP, gain=-0.06, half=0.005, p=1e-9)]
    assert judge(ALL, since_last).exit_code == 0
    verdict = judge(ALL, since_last, anchor=since_first)
    found = {(check.address, check.against): check.outcome for check in verdict.checks}
    assert found == {
        (TOP, "baseline"): "pass", (TOP, "anchor"): "regression",
        (AUC, "baseline"): "pass", (AUC, "anchor"): "skipped",
    }  # fmt: skip
    assert verdict.exit_code == 1
    assert {check.family for check in verdict.checks if check.family} == {3}


def test_a_relative_margin_is_of_the_baseline(difference: Make, judge: Judge) -> None:
    rule = {"required": [{"address": TOP, "margin": "2%"}]}
    check = only(judge(rule, [difference(TOP, baseline=0.5, half=0.009)]))
    assert check.bound == pytest.approx(0.01) and check.outcome is Outcome.PASS
    assert check.message.endswith("within the margin of 1.00 points (2 %)")
    assert judge(rule, [difference(TOP, baseline=0.5, half=0.011)]).exit_code == 3


def test_no_worse(difference: Make, judge: Judge) -> None:
    rule = {"required": [{"address": TOP, "no_worse": True, "detect": 0.02}]}
    assert judge(rule, [difference(TOP, half=0.01)]).exit_code == 0
    assert judge(rule, [difference(TOP, half=0.02)]).exit_code == 3
    assert judge(rule, [difference(TOP, gain=-0.01, half=0.009, p=0.03)]).exit_code == 1


def test_unchanged_answers_pass_at_any_n(difference: Make, judge: Judge) -> None:
    few = [difference(TOP, gain=0.0, half=0.1, n=20)]
    assert judge(MARGIN, few).exit_code == 3
    verdict = judge(MARGIN, few, unchanged=True)
    assert verdict.exit_code == 0
    assert only(verdict).message == "the answers are the same on every sample"
    moved = [difference(TOP, gain=-0.01, half=0.1, n=20)]
    assert judge(MARGIN, moved, unchanged=True).exit_code == 3


def test_real_numbers_that_are_alike_need_no_interval(difference: Make, judge: Judge) -> None:
    alike = difference("m:s/c/log-loss", half=None, p=1.0, identical=True, direction="lower")
    percent = {"m:s/c/log-loss": {"percent": False}}
    assert judge(ALL, [alike], candidate=percent).exit_code == 0
    # Of shares, n decides.
    assert judge(ALL, [difference(TOP, half=None, p=1.0, identical=True)]).exit_code == 0
    few = difference(TOP, half=None, p=1.0, identical=True, n=50)
    assert judge(ALL, [few]).exit_code == 3


def test_the_worst_comes_first(difference: Make, judge: Judge) -> None:
    found = [difference(TOP, gain=-0.1, p=1e-9), difference(AUC, half=0.5)]
    assert judge(ALL, found).blocking == [Outcome.REGRESSION, Outcome.INCONCLUSIVE]
    both = judge(
        {"required": [*ALL["required"], {"address": "m:x/y/z", "margin": 0.1}]}, found
    )  # fmt: skip
    assert both.blocking == [Outcome.INVALID, Outcome.REGRESSION, Outcome.INCONCLUSIVE]
    assert both.exit_code == 4
