"""What is missing, by reason: each number is counted once, and none is lost."""

from __future__ import annotations

from crucibench.report.gaps import MissingResults, by_reason


def _gap(
    what: str, reason: str, *models: str, count: int = 1, data: str = "digits"
) -> MissingResults:
    return MissingResults(data=data, what=what, models=models, reason=reason, count=count)


def test_reasons_of_one_kind_are_one_entry() -> None:
    gaps = [
        _gap("bias/groups: TPR", "no positives", "a"),
        _gap("throughput/offline: p99", "6 queries were timed, and p99 needs 662", "a", "b",
             count=2),
        _gap("throughput/offline: p50", "7 queries were timed, and p50 needs 1,234", "b", "c",
             count=3),
        _gap("bias/groups: FPR", "no positives", "b", count=4),
        _gap("bias/across: gap", "only 'age=1, \u202e' has at least 30 samples", "a"),
        _gap("bias/groups: TPR", "no positives", "a", data="reviews"),
    ]  # fmt: skip
    found = by_reason(gaps)
    assert [(group.data, group.suite, group.count) for group in found] == [
        ("digits", "bias", 6), ("digits", "throughput", 5), ("reviews", "bias", 1),
    ]  # fmt: skip
    bias, speed, _ = found
    assert [(reason.text, reason.count) for reason in bias.reasons] == [
        ("no positives", 5), ("only 'age=1, \u202e' has at least 30 samples", 1),
    ]  # fmt: skip
    assert bias.reasons[0].alike and bias.reasons[0].models == ("a", "b")
    (reason,) = speed.reasons
    assert reason.text == "… queries were timed, and p… needs …"
    assert not reason.alike and reason.models == ("a", "b", "c")
    kept = [gap for group in found for one in group.reasons for gap in one.gaps]
    assert sorted(map(repr, kept)) == sorted(map(repr, gaps)), "each stands in one place"
