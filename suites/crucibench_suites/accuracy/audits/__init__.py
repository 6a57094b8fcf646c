"""Audits of the clean scenario: one file each, a pure function of the evidence."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.accuracy.answers import read_answers, read_values
from crucibench_suites.accuracy.audits.classes import missing_classes
from crucibench_suites.accuracy.audits.constant import constant_classes, constant_values
from crucibench_suites.accuracy.audits.decision import threshold_not_applied
from crucibench_suites.accuracy.audits.duplicates import duplicates
from crucibench_suites.accuracy.audits.permuted import permuted_labels
from crucibench_suites.accuracy.audits.precision import too_few_samples
from crucibench_suites.accuracy.audits.zero_probability import zero_probabilities
from crucibench_suites.accuracy.halves import Halves


def audit_clean(evidence: Evidence, stream: str) -> Findings:
    """Returns what speaks against the clean scenario's numbers."""
    cell = evidence.needs["test"]
    if not len(cell.samples):
        message = "there are no test samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    if evidence.task.kind == "regression":
        values = read_values(cell.records, cell.samples.ids)
        findings = constant_values(values, cell.samples.targets)
    else:
        answers = read_answers(cell, evidence.task)
        findings = [
            *constant_classes(answers),
            *permuted_labels(answers, Halves(evidence.options.seed, f"{stream}/permuted")),
            *threshold_not_applied(answers),
            *zero_probabilities(answers),
            *missing_classes(answers),
        ]
    return [*findings, *duplicates(evidence), *too_few_samples(evidence, stream)]
