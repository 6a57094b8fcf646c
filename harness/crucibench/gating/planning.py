"""What a gate's margins need: trainings a side, and samples."""

from __future__ import annotations

from typing import Any

from crucibench.gating.result import Check, GateVerdict
from crucibench.gating.text import change, count, exact

PLANNED = ("number", "margin", "trainings", "samples", "shown from", "trainings x samples", "buy")


def plan_rows(verdict: GateVerdict) -> list[tuple[str, ...]]:
    """Returns a line for each margin that trainings stand behind."""
    return [_row(check) for check in _planned(verdict)]


def plan_document(verdict: GateVerdict) -> list[dict[str, Any]]:
    """Returns the same as data."""
    names = ("address", "data", "bound", "trainings", "n", "detectable", "plan")
    return [
        {**{name: getattr(check, name) for name in names}, "buy": advice(check)}
        for check in _planned(verdict)
    ]


def _planned(verdict: GateVerdict) -> list[Check]:
    return [check for check in verdict.checks if check.trainings is not None]


def _row(check: Check) -> tuple[str, ...]:
    assert check.trainings is not None and check.bound is not None
    was, now = check.trainings
    shown = "" if check.detectable is None else change(check.detectable, percent=check.percent)
    ways = ", ".join(f"{trainings} x {count(samples)}" for trainings, samples in check.plan)
    return (
        check.address, exact(check.bound, percent=check.percent, points=True), f"{was} and {now}",
        count(check.n or 0), shown, ways or "more than can be planned", advice(check),
    )  # fmt: skip


def advice(check: Check) -> str:
    """Says what to buy: samples where these trainings do, else the fewest trainings that do."""
    assert check.trainings is not None and check.bound is not None
    n, trainings = check.n or 0, min(check.trainings)
    if check.detectable is not None and check.detectable <= check.bound:
        return "nothing"
    if not check.plan:
        return "a steadier recipe: trainings differ by far more than the margin"
    here = next((pair for pair in check.plan if pair[0] <= max(2, trainings)), None)
    if here is not None:
        return f"samples: {count(here[1])}"
    at_hand = [pair for pair in check.plan if pair[1] <= n]
    if at_hand:
        return f"trainings: {at_hand[-1][0]} a side"
    return f"both: {check.plan[0][0]} a side on {count(check.plan[0][1])} samples"
