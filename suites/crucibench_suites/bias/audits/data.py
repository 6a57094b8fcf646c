"""What the data alone make of gaps, and the four-fifths rule with its caveat."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.bias.found import Found
from crucibench_suites.bias.tables import adjusted

_BEYOND_CHANCE = 0.05
_FOUR_FIFTHS = 0.8


def base_rates_differ(found: Sequence[Found]) -> Findings:
    """Says where groups have other shares of positives: then not all gaps can vanish at once."""
    p_holm = adjusted(found)
    findings = []
    for one in found:
        if one.gap.id != "base-rate-difference" or len(one.grouping.columns) > 1:
            continue
        p = p_holm.get((one.grouping.title, one.gap.id), 1.0)
        if one.value is None or p > _BEYOND_CHANCE:
            continue
        findings.append(
            Finding(
                code="base-rates-differ",
                severity=Severity.INFO,
                message=f"the groups of {one.grouping.title} differ in their share of positives by "
                f"{one.value:.2g} ({one.highest!r} the highest, {one.lowest!r} the lowest): no "
                "imperfect model can then have equal selection rates, equal error rates and equal "
                "predictive values at once",
                evidence={"column": one.grouping.title, "difference": one.value, "p_holm": p},
            )
        )
    return findings


def four_fifths(found: Sequence[Found]) -> Findings:
    """Notes a selection-rate ratio below four fifths, and what that does not say."""
    findings = []
    for one in found:
        if one.gap.id != "demographic-parity-ratio" or len(one.grouping.columns) > 1:
            continue
        if one.value is None or one.value >= _FOUR_FIFTHS:
            continue
        reaches = one.interval is not None and one.interval.upper >= _FOUR_FIFTHS
        shows = "; its interval reaches above it" if reaches else ""
        findings.append(
            Finding(
                code="four-fifths",
                severity=Severity.INFO,
                message=f"{one.lowest!r} is selected {one.value:.2g} times as often as "
                f"{one.highest!r}, below four fifths{shows}. The four-fifths rule is a screening "
                "rule of United States employment law: outside of it, it neither shows nor rules "
                "out discrimination",
                evidence={"column": one.grouping.title, "ratio": one.value},
            )
        )
    return findings
