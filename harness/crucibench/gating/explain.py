"""What a verdict says in words: what was found, by how much, and what would help."""

from __future__ import annotations

from crucibench.comparing.results import MetricDifference
from crucibench.gating.policy import Size
from crucibench.gating.result import Outcome, Test
from crucibench.gating.sides import Number
from crucibench.gating.text import between, change, count, counted, exact, number
from crucibench.gating.verdict import detectable, n_needed, n_needed_for_floor


def explain_difference(
    outcome: Outcome,
    test: Test,
    difference: MetricDifference,
    bound: float,
    size: Size,
    *,
    percent: bool,
    p_adjusted: float,
    family: int,
) -> str:
    """Explains a check against a baseline."""
    gain, interval = difference.gain, difference.gain_interval
    limit = exact(bound, percent=percent, points=True)
    if size.relative:
        limit = f"{change(bound, percent=percent)} ({size})"
    if gain is None or interval is None:
        why = difference.reason or "there is no interval"
        return f"no interval for the difference, so it can't be judged: {why}"
    half = (interval[1] - interval[0]) / 2
    found = change(abs(gain), half=half, percent=percent)
    span = between(*interval, percent=percent)
    word = "worse" if gain < 0 else "better"
    said = f"{word} by {found}, interval {span}" if gain else f"no difference, interval {span}"
    if outcome is Outcome.REGRESSION:
        more = f", more than the margin of {limit}" if test == "margin" else ""
        return f"{said}{more}{_flips(difference)}{_p(p_adjusted, family)}"
    if outcome is Outcome.PASS:
        if test == "margin":
            return f"{said}, within the margin of {limit}"
        return f"{said}: no loss shown, and {counted(difference.n, 'sample')} would show {limit}"
    return f"{said}: {_inconclusive(test, difference, bound, limit, percent)}"


def _inconclusive(
    test: Test, difference: MetricDifference, bound: float, limit: str, percent: bool
) -> str:
    n = counted(difference.n, "sample")
    smallest, needed = detectable(difference), n_needed(difference, bound)
    shown = (
        f"{n} show no loss at all reliably"
        if smallest is None
        else f"{n} show a loss from {change(smallest, percent=percent)} up"
    )
    if needed is not None and needed <= difference.n and test == "margin":
        return f"too close to the margin of {limit} to tell, though {n} would do for an equal model"
    wanted = "a margin of" if test == "margin" else "to detect"
    needs = "" if needed is None else f"; {wanted} {limit} needs about {count(needed)}"
    return f"not enough to tell: {shown}{needs}"


def explain_floor(outcome: Outcome, found: Number, floor: float) -> str:
    """Explains a check against a floor."""
    assert found.value is not None
    limit = exact(floor, percent=found.percent)
    bound = "ceiling" if found.direction == "lower" else "floor"
    if found.lower is None or found.upper is None:
        why = found.reason or "there is no interval"
        return f"{number(found.value, percent=found.percent)} without interval: {why}"
    half = (found.upper - found.lower) / 2
    value = number(found.value, half=half, percent=found.percent)
    said = f"{value}, interval {between(found.lower, found.upper, percent=found.percent)}"
    if outcome is Outcome.PASS:
        return f"{said}, all on the right side of the {bound} of {limit}"
    if outcome is Outcome.REGRESSION:
        return f"{said}, all on the wrong side of the {bound} of {limit}"
    needed = n_needed_for_floor(found.value, found.lower, found.upper, found.n, floor)
    needs = "" if needed is None else f"; telling needs about {count(needed)} samples"
    return f"{said}, which holds the {bound} of {limit} (n {count(found.n)}{needs})"


def _flips(difference: MetricDifference) -> str:
    flips = difference.flips
    if flips is None:
        return ""
    lost, gained = len(flips.lost), len(flips.gained)
    return f"; of {counted(difference.n, 'sample')} {count(lost)} got wrong, {count(gained)} right"


def _p(p_adjusted: float, family: int) -> str:
    over = f", Holm over {family} tests" if family > 1 else ""
    return f" (p {p_adjusted:.2g}{over})"
