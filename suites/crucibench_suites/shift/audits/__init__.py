"""Audits of shifted samples: one file each, a pure function of the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.audits.distance import did_nothing, larger_than_stated, not_monotone
from crucibench_suites.shift.audits.gain import better_when_shifted
from crucibench_suites.shift.audits.values import non_finite
from crucibench_suites.shift.cells import OWN
from crucibench_suites.shift.corruptions.catalogue import Kernel


def audit_records(evidence: Evidence) -> Findings:
    """Returns what speaks against any shifted cell's numbers."""
    if not len(evidence.own.samples):
        message = "there are no test samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    return non_finite(evidence.own.records)


def audit_corrupted(evidence: Evidence, kernel: Kernel, parameter_set: str) -> Findings:
    """Returns what speaks against a corruption's numbers."""
    findings = audit_records(evidence)
    if findings:
        return findings
    records = evidence.own.records
    return [
        *did_nothing(records),
        *larger_than_stated(records, kernel, parameter_set),
        *not_monotone(records, kernel),
        *better_when_shifted(evidence),
    ]


def audit_summary(evidence: Evidence, corruptions: Sequence[str]) -> Findings:
    """Returns what speaks against the numbers over all corruptions."""
    missing = [name for name in corruptions if OWN + name not in evidence.needs]
    # Where all are missing there is no mean that one could misread.
    if not missing or len(missing) == len(corruptions):
        return []
    message = (
        f"every mean leaves out {len(missing)} of {len(corruptions)} corruptions: "
        f"{', '.join(missing)}"
    )
    return [
        Finding(
            code="corruptions-missing", severity=Severity.SUSPECT, message=message,
            evidence={"missing": missing},
        )
    ]  # fmt: skip
