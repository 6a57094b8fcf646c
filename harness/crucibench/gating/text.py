"""A verdict in words and as a table: numbers, sentences and lines of plain text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crucibench.comparing.power import POWER, n_needed, samples_needed, trainings_needed
from crucibench.comparing.results import MetricDifference, RecipeSpread
from crucibench.gating.decide import detectable, is_worse, n_needed_for_floor
from crucibench.gating.policy import Size
from crucibench.gating.result import Check, GateVerdict, Outcome, Test
from crucibench.gating.sides import GatedNumber

MINUS = "\u2212"


def decimals(half: float | None, value: float) -> int:
    """Returns how many decimals a number deserves: two digits of its interval's half-width."""
    known = half is not None and math.isfinite(half) and half > 0
    scale = half if known and half is not None else abs(value) / 10
    if not 0 < scale < math.inf:
        return 1
    # Against rounding: half of 0.91 - 0.89 is a little below 0.01.
    return min(max(1 - math.floor(math.log10(scale) + 1e-9), 0), 6)


def number(value: float, *, half: float | None = None, percent: bool = False) -> str:
    """Writes a value; `percent` with its sign."""
    factor = 100.0 if percent else 1.0
    shown = _fixed(
        value * factor, decimals(None if half is None else half * factor, value * factor)
    )
    return f"{shown} %" if percent else shown


def change(
    value: float, *, half: float | None = None, percent: bool = False, sign: bool = False
) -> str:
    """Writes a difference: shares in percentage points."""
    factor = 100.0 if percent else 1.0
    places = decimals(None if half is None else half * factor, value * factor)
    shown = _fixed(value * factor, places)
    if sign and value > 0:
        shown = f"+{shown}"
    return f"{shown} points" if percent else shown


def exact(value: float, *, percent: bool = False, points: bool = False) -> str:
    """Writes a number that somebody chose as they wrote it."""
    shown = f"{value * (100.0 if percent else 1.0):.6g}".replace("-", MINUS)
    unit = (" point" + ("" if shown == "1" else "s")) if points else " %"
    return f"{shown}{unit}" if percent else shown


def between(lower: float, upper: float, *, percent: bool = False) -> str:
    """Writes an interval without a unit: two ends in brackets."""
    factor = 100.0 if percent else 1.0
    places = decimals((upper - lower) / 2 * factor, max(abs(lower), abs(upper)) * factor)
    return f"[{_fixed(lower * factor, places)}, {_fixed(upper * factor, places)}]"


def count(value: int) -> str:
    """Writes a count, thousands apart."""
    return f"{value:,}"


def counted(value: int, one: str, many: str = "") -> str:
    """Returns ``1 sample``, ``3 samples``."""
    return f"{count(value)} {one if value == 1 else many or one + 's'}"


def listed(words: list[str]) -> str:
    """Joins words: ``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _fixed(value: float, places: int) -> str:
    if not math.isfinite(value):
        return "?" if math.isnan(value) else ("" if value > 0 else MINUS) + "∞"
    if value and abs(value) < 10**-places:
        return f"{value:.2g}".replace("-", MINUS)
    text = f"{value:,.{places}f}"
    return (text if float(text.replace(",", "")) else text.removeprefix("-")).replace("-", MINUS)


COLUMNS = ("", "tier", "number", "baseline", "candidate", "change", "interval", "n")

_COUNTED = {
    Outcome.REGRESSION: ("regression",),
    Outcome.INCONCLUSIVE: ("inconclusive check",),
    Outcome.INVALID: ("invalid check",),
}
_ORDER = {"block": 0, "warn": 1, "note": 2, "none": 3}


def headline(verdict: GateVerdict) -> str:
    """Says in one sentence what the gate says."""
    blocking = [check for check in verdict.checks if check.effect == "block"]
    if verdict.outcome is Outcome.PASS:
        passed = counted(verdict.counts.get("pass", 0), "check")
        warned = sum(check.effect == "warn" for check in verdict.checks)
        more = f", {counted(warned, 'warning')}" if warned else ""
        return f"gate passes: {passed} passed{more}{_of_files(verdict)}"
    parts = []
    for outcome in verdict.blocking:
        found = sum(check.outcome is outcome for check in blocking)
        if found:
            parts.append(counted(found, *_COUNTED[outcome]))
    if verdict.errors:
        parts.append(counted(len(verdict.errors), "error"))
    return f"gate stops: {listed(parts)}{_of_files(verdict)}"


def _of_files(verdict: GateVerdict) -> str:
    """Says that two files were compared, where no training but theirs tells how far others lie."""
    speaks = {check.estimand for check in verdict.checks if check.estimand}
    return "; it speaks of these two files, not of another training" if speaks == {"files"} else ""


def notes(verdict: GateVerdict) -> list[str]:
    """Returns the sentences that go with the table: errors, and every waiver, every time."""
    sentences = [*verdict.errors, *verdict.notes]
    for waiver in verdict.waivers:
        state = {
            "active": f"waived until {waiver.until}",
            "unused": f"waived until {waiver.until}, and nothing to waive",
            "expired": f"waiver ran out on {waiver.until}",
        }[waiver.state]
        sentences.append(f"{waiver.rule}: {state}: {waiver.reason}")
    return sentences


def ordered(verdict: GateVerdict) -> list[Check]:
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


def rows(verdict: GateVerdict) -> list[tuple[str, ...]]:
    """Returns a line for each check, those that stop the gate first."""
    data = many_data(verdict.checks)
    return [row(check, data=data) for check in ordered(verdict)]


def findings(verdict: GateVerdict) -> list[tuple[str, str, str]]:
    """Returns outcome, address and sentence of each check that does something to the gate."""
    data = many_data(verdict.checks)
    return [
        (status(check), where(check, data=data), check.message)
        for check in ordered(verdict)
        if check.effect != "none" or check.outcome is Outcome.INCONCLUSIVE
    ]


def plain_text(verdict: GateVerdict) -> str:
    """Returns the verdict as plain text: a line and a sentence for each check, then the notes."""
    data = many_data(verdict.checks)
    lines = [headline(verdict)]
    for check in ordered(verdict):
        lines.append(f"  {status(check):<13} {check.tier:<10} {where(check, data=data)}")
        lines.append(f"      {check.message}")
    lines += [f"  {note}" for note in notes(verdict)]
    return "\n".join(lines)


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
    power: float = POWER,
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
    found = f"{word} by {found}, interval {span}" if gain else f"no difference, interval {span}"
    found += _trainings(difference)
    if test == "margin" and is_worse(difference) and interval[0] < -bound <= interval[1]:
        why = f": {_within(difference, bound, limit, power)}{_flips(difference)}"
    elif outcome is Outcome.REGRESSION:
        beyond = f", all beyond the margin of {limit}" if test == "margin" else ""
        why = f"{beyond}{_flips(difference)}{_p(p_adjusted, family)}"
    elif outcome is Outcome.INCONCLUSIVE:
        why = f": {_inconclusive(test, difference, bound, limit, percent=percent, power=power)}"
    elif test == "margin":
        why = f", within the margin of {limit}"
    else:
        why = f": no loss shown, and {counted(difference.n, 'sample')} would show {limit}"
    return found + why


def _trainings(difference: MetricDifference) -> str:
    """Says which trainings a difference is of, and where their spread comes from."""
    spread = difference.spread
    if spread is None:
        return ""
    if spread.borrowed:
        return f" with the spread of trainings borrowed from {listed([*spread.borrowed])}"
    was, now = spread.trainings
    seeds = ", paired by seed" if spread.by_seed else ""
    return f" over {was} and {now} trainings{seeds}"


def _within(difference: MetricDifference, bound: float, limit: str, power: float) -> str:
    """Says of a loss that it is not shown to be more than the margin, and what would show it."""
    needed = None if difference.spread else n_needed(difference, bound, power)
    needs = (
        ""
        if needed is None or needed <= difference.n
        else (f"; a margin of {limit} needs about {count(needed)} samples")
    )
    return f"worse than before, not shown to be more than the margin of {limit}{needs}"


def _inconclusive(
    test: Test,
    difference: MetricDifference,
    bound: float,
    limit: str,
    *,
    percent: bool,
    power: float,
) -> str:
    n = counted(difference.n, "sample")
    if difference.spread is not None:
        return _inconclusive_of_recipes(difference, difference.spread, bound, limit, power)
    smallest, needed = detectable(difference, power), n_needed(difference, bound, power)
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


def _inconclusive_of_recipes(
    difference: MetricDifference, spread: RecipeSpread, bound: float, limit: str, power: float
) -> str:
    samples = counted(difference.n, "sample")
    trainings = trainings_needed(spread, difference.n, bound, power)
    needed = samples_needed(spread, difference.n, bound, power)
    ways = []
    if trainings is not None:
        ways.append(f"about {counted(trainings, 'training')} a side on these {samples}")
    if needed is not None:
        ways.append(f"these trainings on about {count(needed)} samples")
    needs = " or ".join(ways) or "more of both: crucibench gate --plan says how many"
    return f"not enough to tell: {limit} needs {needs}"


def explain_floor(outcome: Outcome, found: GatedNumber, floor: float) -> str:
    """Explains a check against a floor."""
    assert found.value is not None
    limit = exact(floor, percent=found.percent)
    bound = "ceiling" if found.direction == "lower" else "floor"
    if found.lower is None or found.upper is None:
        why = found.reason or "there is no interval"
        return f"{number(found.value, percent=found.percent)} without interval: {why}"
    half = (found.upper - found.lower) / 2
    value = number(found.value, half=half, percent=found.percent)
    stated = f"{value}, interval {between(found.lower, found.upper, percent=found.percent)}"
    if outcome is Outcome.PASS:
        return f"{stated}, all on the right side of the {bound} of {limit}"
    if outcome is Outcome.REGRESSION:
        return f"{stated}, all on the wrong side of the {bound} of {limit}"
    needed = n_needed_for_floor(found.value, found.lower, found.upper, found.n, floor)
    needs = "" if needed is None else f"; telling needs about {count(needed)} samples"
    return f"{stated}, which holds the {bound} of {limit} (n {count(found.n)}{needs})"


def _flips(difference: MetricDifference) -> str:
    changes = difference.changes
    if changes is None:
        return ""
    lost, gained = count(len(changes.lost)), count(len(changes.gained))
    words = (
        f"{lost} got wrong, {gained} right"
        if difference.flips
        else f"{lost} worse, {gained} better"
    )
    return f"; of {counted(difference.n, 'sample')} {words}"


def _p(p_adjusted: float, family: int) -> str:
    over = f", Holm over {family} tests" if family > 1 else ""
    return f" (p {p_adjusted:.2g}{over})"
