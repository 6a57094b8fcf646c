"""Whether a search for the highest rate came to an end that means something."""

from __future__ import annotations

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.throughput.readings import Readings
from crucibench_suites.throughput.searching import Bracket, trials_of

WIDE = 0.10
"""What a search may leave open between the rates that pass and fail."""


def open_search(readings: Readings, bound: float, share: float) -> Findings:
    """Tells a search that ended early, and trials that contradict one another."""
    trials = trials_of(readings, bound, share)
    bracket = Bracket.of(trials)
    found: Findings = []
    if bracket.passed > 0 and bracket.failed - bracket.passed > WIDE * bracket.failed:
        found.append(
            Finding(
                code="search-left-open",
                severity=Severity.SUSPECT,
                message=f"after {len(trials)} trials a rate of {bracket.passed:.4g} queries/s "
                f"passed and one of {bracket.failed:.4g} did not: more rounds would tell",
                evidence={"passed": bracket.passed, "failed": bracket.failed},
            )
        )
    above = [one.rate for one in trials if one.passed and one.rate >= bracket.failed]
    if above:
        found.append(
            Finding(
                code="search-contradicts-itself",
                severity=Severity.SUSPECT,
                message=f"{max(above):.4g} queries/s passed and {bracket.failed:.4g} did not when "
                "other queries arrived: model or machine changed, or it was by chance",
                evidence={"passed": max(above), "failed": bracket.failed},
            )
        )
    return found
