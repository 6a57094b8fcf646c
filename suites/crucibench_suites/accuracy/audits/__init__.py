"""Audits of the clean scenario: one file each, a pure function of the evidence."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.accuracy.audits.classes import missing_classes
from crucibench_suites.accuracy.audits.constant import constant_classes, constant_values
from crucibench_suites.accuracy.audits.decision import threshold_not_applied
from crucibench_suites.accuracy.audits.duplicates import duplicates
from crucibench_suites.accuracy.audits.permuted import permuted_labels
from crucibench_suites.accuracy.audits.precision import too_few_samples
from crucibench_suites.accuracy.audits.zero_probability import zero_probabilities
from crucibench_suites.accuracy.halves import Halves


def audit_clean(evidence: Evidence, scenario: Scenario) -> Findings:
    """Returns what speaks against the clean scenario's numbers."""
    cell = evidence.needs["test"]
    if not len(cell.samples):
        message = "there are no test samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    view = evidence.task.definition.view(cell, evidence.task)
    findings: Findings = []
    if evidence.task.one_number:
        findings = constant_values(view.predictions, view.targets)
    elif evidence.task.one_class:
        findings = [
            *constant_classes(view),
            *permuted_labels(view, Halves(evidence.options.seed, f"{scenario.stream}/permuted")),
            *threshold_not_applied(view),
            *zero_probabilities(view),
            *missing_classes(view),
        ]
    return [*findings, *duplicates(evidence), *too_few_samples(evidence, scenario)]
