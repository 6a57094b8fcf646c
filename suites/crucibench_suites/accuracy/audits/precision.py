"""Are there enough samples for the precision with which the headline number is shown?"""

from __future__ import annotations

import math

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.metric import metrics_named
from crucibench.contracts.rows import Row
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.numbers import numbers_of
from crucibench.metrics.scoring import rows_of

_ACCURACY_WIDTHS = 0.05, 0.15
"""Half-widths of accuracy worth saying, and so wide that they tell no two usual models apart."""

_ERROR_WIDTHS = 0.10, 0.50
"""The same of a mean absolute error, as shares of it."""


_FEWEST_UNITS = 5


def too_few_samples(evidence: Evidence, scenario: Scenario) -> Findings:
    """Flags a headline interval that is wide, and says how many samples a narrower one needs."""
    row = _headline(evidence, scenario)
    units, what = _units(evidence)
    if row.value is None:
        return []
    if row.lower is None or row.upper is None:
        if units >= _FEWEST_UNITS:
            return []  # too regular to be resampled (all right, say): the row says so
        message = f"{units} {what} are too few for an interval at all"
        return [_finding(Severity.SUSPECT, message, {"units": units})]
    name = metrics_named([row.metric])[0].info.name.lower()
    scale, wide, too_wide = (
        (abs(row.value), *_ERROR_WIDTHS) if evidence.task.one_number else (1.0, *_ACCURACY_WIDTHS)
    )
    half = (row.upper - row.lower) / 2
    if half <= wide * scale:
        return []
    # A half-width shrinks with the root of the number of independent units.
    needed = _rounded_up(units * (half / (wide * scale)) ** 2)
    severity = Severity.SUSPECT if half > too_wide * scale else Severity.INFO
    message = (
        f"{name} {row.value:.3g} is known to within {half:.2g} only, from {units} {what}; "
        f"{wide * scale:.2g} would need about {needed}"
    )
    figures = {"units": units, "half_width": half, "units_needed": needed}
    return [_finding(severity, message, figures)]


def _headline(evidence: Evidence, scenario: Scenario) -> Row:
    """Returns the headline row as `score` makes it."""
    kind = evidence.task.definition
    view = kind.view(evidence.needs["test"], evidence.task)
    return rows_of(numbers_of(metrics_named([kind.headline]), view), scenario, evidence)[0]


def _units(evidence: Evidence) -> tuple[int, str]:
    samples = evidence.needs["test"].samples
    if samples.clusters is None:
        return len(samples), "samples"
    return len(set(samples.clusters.tolist())), "clusters"


def _rounded_up(number: float) -> int:
    """Returns a number rounded up to two digits: more would claim to know its spread."""
    step: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / step) * step


def _finding(severity: Severity, message: str, evidence: dict[str, float]) -> Finding:
    return Finding(code="too-few-samples", severity=severity, message=message, evidence=evidence)
