"""Write a first policy for a baseline: commented, with margins that its samples can show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crucibench.comparing.results import MetricDifference
from crucibench.gating.decide import detectable
from crucibench.gating.sides import GatedNumber, GateSide, Key
from crucibench.gating.text import between, change, count, number
from crucibench.stats import detectable_mean, required_n_mean
from crucibench.util.text import visible

_CORRELATION = 0.8
"""Of two models' results on the same samples, where no candidate shows it: a retrained model is
usually above, another architecture below."""

_Z = 1.959963984540054
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.5, 10.0)
_LEAST = 0.005
"""Of the range from 0 to 1, or of the value: less is moved by batch size and library versions."""

_HEAD = """\
# What a candidate must hold against its baseline. Made from {run}; it is yours to edit.
#
# An address is MODEL:SUITE/SCENARIO[POINT]/METRIC[@GROUP]; * and ? are wild, brackets literal.
# margin: the loss that is tolerated, in the metric's own unit (0.01 is one point of accuracy), or
#   as a share of the baseline's value ("2%").
# no_worse: true with detect: no loss at all, if the samples could have shown one of that size.
# treat_as: what a loss counts as that is sure, but not shown to be more than the margin:
#   inconclusive (as it is), regression or pass.
# floor: the worst value allowed, whatever the baseline has (a ceiling where lower is better).
#
# No margin below is smaller than the loss that the samples at hand show in 80 % of cases
# ({spread}).
# A smaller one would say "inconclusive" and not stop what it is there for.
schema_version: 1
"""

_TIERS = {
    "required": "These decide: a regression stops the gate, and so does a number that is missing,\n"
    "# not trusted or not measured well enough to tell.",
    "supporting": "These warn.",
    "advisory": "These inform. Speed stands here, for it is another one on every machine.",
}
_FOOT = """
# A loss that is known and put up with for a time; printed every time, and it fails when it is over.
# waivers:
#   - {rule: "*:accuracy/clean/top-1", until: 2027-03-31, reason: "smaller model, agreed in review"}

# A second, older baseline, held to the same margins, against slow erosion:
# anchor: baselines/release-1.cbz
"""


@dataclass(frozen=True)
class _Entry:
    tier: str
    text: str


def first_policy(
    baseline: GateSide, differences: Mapping[Key, MetricDifference] | None = None
) -> str:
    """Returns a policy over the headline numbers of a run.

    Args:
        baseline: the run.
        differences: a candidate's from it, by data set and address: they show how far two models
            differ on the same samples, which one run alone can't.
    """
    measured = differences or {}
    entries = []
    seen: set[str] = set()
    for place in baseline.headline:
        found = [one for one in baseline.numbers.values() if _place(one) == place]
        usable = [one for one in found if _usable(one)]
        if usable:
            suite = place.partition("/")[0]
            entries.append(_entry(place, usable, measured, first=suite not in seen))
            seen.add(suite)
    spread = (
        "by the differences of the candidate that was given"
        if measured
        else f"two models' results taken to correlate by {_CORRELATION}; --candidate measures it"
    )
    parts = [_HEAD.format(run=visible(baseline.name), spread=spread)]
    for tier, meaning in _TIERS.items():
        texts = [entry.text for entry in entries if entry.tier == tier]
        parts.append(f"\n# {meaning}\n{tier}:" + ("\n" if texts else " []\n") + "".join(texts))
    return "".join(parts) + _FOOT


def _place(one: GatedNumber) -> str:
    return str(one.address).partition(":")[2]


def _usable(one: GatedNumber) -> bool:
    return (
        one.value is not None
        and one.lower is not None
        and one.upper is not None
        and one.upper > one.lower
        and one.direction in {"higher", "lower"}
        and one.n > 0
    )


def _entry(
    place: str,
    numbers: Sequence[GatedNumber],
    measured: Mapping[Key, MetricDifference],
    *,
    first: bool,
) -> _Entry:
    smallest = {one.key: _smallest(one, measured.get(one.key)) for one in numbers}
    worst = max(numbers, key=lambda one: smallest[one.key])
    margin = nice(max(smallest[worst.key], _least(worst)))
    lines = [f"  # {visible(_value(one))}" for one in numbers]
    shown = change(smallest[worst.key], percent=worst.percent)
    lines.append(f"  # n {count(worst.n)} shows a loss from {shown} up{_wish(worst, smallest)}")
    doubted = [one for one in numbers if one.verdict != "valid"]
    lines += [
        f"  # {visible(f'{one.address.model}: {one.verdict}: {why}')}"
        for one in doubted
        for why in one.findings or ("no finding says why",)
    ]
    lines += [f"  - address: {json.dumps(f'*:{place}')}", f"    margin: {margin:g}"]
    if not worst.timed:
        worst_value = _worst_end(numbers)
        lines.append(f"    # floor: {worst_value:.4g}")
    tier = "required" if first and not doubted else "supporting"
    return _Entry("advisory" if worst.timed else tier, "\n".join(lines) + "\n")


def _smallest(one: GatedNumber, difference: MetricDifference | None) -> float:
    found = None if difference is None else detectable(difference)
    if found is not None:
        return found
    assert one.lower is not None and one.upper is not None
    error = (one.upper - one.lower) / 2 / _Z
    return detectable_mean(1, error * math.sqrt(2 * (1 - _CORRELATION)))


def _wish(one: GatedNumber, smallest: Mapping[Key, float]) -> str:
    """Says what one point would need, where the samples don't show it."""
    if not one.percent or smallest[one.key] <= 0.01:
        return ""
    spread = smallest[one.key] / detectable_mean(1, 1.0) * math.sqrt(one.n)
    return f"; a margin of 1 point needs about {count(required_n_mean(0.01, spread))}"


def _least(one: GatedNumber) -> float:
    return _LEAST if one.percent else _LEAST * abs(one.value or 0.0)


def _worst_end(numbers: Sequence[GatedNumber]) -> float:
    if numbers[0].direction == "lower":
        return max(one.upper for one in numbers if one.upper is not None)
    return min(one.lower for one in numbers if one.lower is not None)


def _value(one: GatedNumber) -> str:
    assert one.value is not None and one.lower is not None and one.upper is not None
    half = (one.upper - one.lower) / 2
    value = number(one.value, half=half, percent=one.percent)
    span = between(one.lower, one.upper, percent=one.percent)
    return f"{one.address.model} on {one.data}: {value} {span}, n {count(one.n)}"


def nice(size: float) -> float:
    """Rounds up to a number that people write: 1, 1.5, 2, 3, 5, 7.5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(size))
    step = next(step for step in _STEPS if step >= size / power * (1 - 1e-9))
    return float(f"{step * power:.6g}")
