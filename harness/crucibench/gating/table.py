"""A verdict as a table of plain text, and as the sentences around it."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.gating.result import Check, Outcome, Verdict
from crucibench.gating.text import between, change, count, counted, listed, number

COLUMNS = ("", "tier", "number", "baseline", "candidate", "change", "interval", "n")

_COUNTED = {
    Outcome.REGRESSION: ("regression",),
    Outcome.INCONCLUSIVE: ("inconclusive check",),
    Outcome.INVALID: ("invalid check",),
}
_ORDER = {"block": 0, "warn": 1, "note": 2, "none": 3}


def headline(verdict: Verdict) -> str:
    """Says in one sentence what the gate says."""
    blocking = [check for check in verdict.checks if check.effect == "block"]
    if verdict.outcome is Outcome.PASS:
        passed = counted(verdict.counts.get("pass", 0), "check")
        warned = sum(check.effect == "warn" for check in verdict.checks)
        more = f", {counted(warned, 'warning')}" if warned else ""
        return f"gate passes: {passed} passed{more}"
    parts = []
    for outcome in verdict.blocking:
        found = sum(check.outcome is outcome for check in blocking)
        if found:
            parts.append(counted(found, *_COUNTED[outcome]))
    if verdict.errors:
        parts.append(counted(len(verdict.errors), "error"))
    return f"gate stops: {listed(parts)}"


def notes(verdict: Verdict) -> list[str]:
    """Returns the sentences that go with the table: errors, and every waiver, every time."""
    said = [*verdict.errors, *verdict.notes]
    for waiver in verdict.waivers:
        state = {
            "active": f"waived until {waiver.until}",
            "unused": f"waived until {waiver.until}, and nothing to waive",
            "expired": f"waiver ran out on {waiver.until}",
        }[waiver.state]
        said.append(f"{waiver.rule}: {state}: {waiver.reason}")
    return said


def ordered(verdict: Verdict) -> list[Check]:
    """Returns the checks, those that stop the gate first."""
    return sorted(verdict.checks, key=lambda check: _ORDER[check.effect])


def status(check: Check) -> str:
    """Returns a check's outcome and what became of it."""
    return f"{check.outcome} (waived)" if check.waived else str(check.outcome)


def where(check: Check, *, data: bool) -> str:
    """Returns a check's address, with its data set and opponent where they need saying."""
    text = check.address
    if data and check.data:
        text += f" on {check.data}"
    if check.test == "floor":
        text += " (floor)"
    return f"{text} (anchor)" if check.against == "anchor" else text


def many_data(checks: Sequence[Check]) -> bool:
    """Whether a data set must be named."""
    return len({check.data for check in checks if check.data}) > 1


def row(check: Check, *, data: bool) -> tuple[str, ...]:
    """Returns a check's line."""
    half = None
    interval = delta = ""
    if check.lower is not None and check.upper is not None:
        half = (check.upper - check.lower) / 2
        interval = between(check.lower, check.upper, percent=check.percent)
    if check.gain is not None:
        delta = change(check.gain, half=half, percent=check.percent, sign=True)

    def shown(value: float | None) -> str:
        return "" if value is None else number(value, half=half, percent=check.percent)

    return (
        status(check), check.tier, where(check, data=data), shown(check.baseline),
        shown(check.candidate), delta, interval, "" if check.n is None else count(check.n),
    )  # fmt: skip


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """Returns a line for each check, those that stop the gate first."""
    data = many_data(verdict.checks)
    return [row(check, data=data) for check in ordered(verdict)]


def findings(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Returns outcome, address and sentence of each check that does something to the gate."""
    data = many_data(verdict.checks)
    return [
        (status(check), where(check, data=data), check.message)
        for check in ordered(verdict)
        if check.effect != "none" or check.outcome is Outcome.INCONCLUSIVE
    ]


def plain_text(verdict: Verdict) -> str:
    """Returns the verdict as plain text: a line and a sentence for each check, then the notes."""
    data = many_data(verdict.checks)
    lines = [headline(verdict)]
    for check in ordered(verdict):
        lines.append(f"  {status(check):<13} {check.tier:<10} {where(check, data=data)}")
        lines.append(f"      {check.message}")
    lines += [f"  {note}" for note in notes(verdict)]
    return "\n".join(lines)
