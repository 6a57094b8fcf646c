"""Audits of groups: one file each, a pure function of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.bias.audits.answers import constant_in_group, undefined_rates
from crucibench_suites.bias.audits.columns import (
    group_is_input,
    group_is_target,
    one_group,
    too_many_groups,
    unknown_reference,
)
from crucibench_suites.bias.audits.data import base_rates_differ, four_fifths
from crucibench_suites.bias.audits.sizes import small_groups, too_few_for_gaps, unknown_groups
from crucibench_suites.bias.scoring import views_and_gaps


def audit_groups(evidence: Evidence, parameters: Mapping[str, Any], stream: str) -> Findings:
    """Returns what speaks against the numbers, or must be known to read them."""
    if not len(evidence.needs["test"].samples):
        message = "there are no test samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    views, found = views_and_gaps(evidence, parameters, stream)
    single = [view for view in views if len(view.grouping.columns) == 1]
    return [
        *too_many_groups(single),
        *one_group(single),
        *unknown_reference(single),
        *group_is_target(evidence, single),
        *group_is_input(evidence, parameters["columns"]),
        *unknown_groups(single),
        *small_groups(views),
        *too_few_for_gaps(found),
        *constant_in_group(evidence, single),
        *undefined_rates(single),
        *base_rates_differ(found),
        *four_fifths(found),
    ]
