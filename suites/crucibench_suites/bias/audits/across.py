"""Whether what is done to the samples costs one group more than another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.bias.across_scoring import Rise, corrected, rises_of
from crucibench_suites.bias.across_views import read_across

_CHANCE = 0.05
_ACCURACY = "top-1-difference"


def audit_across(evidence: Evidence, source: Scenario, parameters: Mapping[str, Any]) -> Findings:
    """Says where the groups' accuracies move apart beyond chance, and which group loses most."""
    if not len(evidence.own.samples):
        message = "there are no test samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    rises = rises_of(evidence, read_across(evidence, source, parameters))
    tested = [rise for rise in rises if rise.of == _ACCURACY and rise.group]
    grown = [
        (rise, p)
        for rise, p in zip(tested, corrected(tested), strict=True)
        if rise.change is not None and rise.change.value > 0 and p < _CHANCE
    ]
    findings = []
    for columns in dict.fromkeys(rise.group for rise, _ in grown):
        worst, p = max(
            (pair for pair in grown if pair[0].group == columns),
            key=lambda pair: pair[0].change.value if pair[0].change else 0.0,
        )
        findings.append(_finding(worst, p, rises))
    return findings


def _finding(rise: Rise, p: float, rises: list[Rise]) -> Finding:
    assert rise.change is not None
    lost = [
        (one.change.value, one.group)
        for one in rises
        if one.of == "top-1" and (one.point, one.columns) == (rise.point, rise.columns)
        and one.change is not None
    ]  # fmt: skip
    most, least = max(lost), min(lost)
    return Finding(
        code="gap-grows",
        severity=Severity.INFO,
        message=f"{rise.point or 'there'}: the groups of {rise.group} lie "
        f"{rise.change.value:.2g} further apart in accuracy than on the samples as they are (p "
        f"{p:.2g} by Holm): {most[1]!r} loses {most[0]:.2g}, {least[1]!r} {least[0]:.2g}",
        evidence={
            "columns": rise.group, "point": rise.point, "rise": rise.change.value, "p_holm": p,
            "loses_most": most[1], "loses_least": least[1],
        },
    )  # fmt: skip
