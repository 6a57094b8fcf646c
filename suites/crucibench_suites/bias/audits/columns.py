"""Is a group column one? Ids by mistake, a single value, the target, a reference that is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.util.suggest import unknown
from crucibench_suites.bias.groupings import MOST_GROUPS
from crucibench_suites.bias.views import View


def too_many_groups(single: Sequence[View]) -> Findings:
    """Flags columns that name samples rather than groups."""
    return [
        Finding(
            code="too-many-groups",
            severity=Severity.SUSPECT,
            message=f"column {view.grouping.title!r} has {len(view.grouping)} groups in "
            f"{len(view.grouping.codes)} samples, more than the {MOST_GROUPS} that are compared: "
            "is it an id, or a number to be cut (suites.bias.edges)?",
            evidence={"column": view.grouping.title, "groups": len(view.grouping)},
        )
        for view in single
        if view.grouping.too_many
    ]


def one_group(single: Sequence[View]) -> Findings:
    """Flags columns without two known groups."""
    findings = []
    for view in single:
        known = [name for name in view.grouping.names if name != NO_GROUP]
        if len(known) < 2:
            findings.append(
                Finding(
                    code="single-group",
                    severity=Severity.SUSPECT,
                    message=f"column {view.grouping.title!r} has "
                    f"{repr(known[0]) + ' alone' if known else 'no known group'}: there is nothing "
                    "to compare",
                    evidence={"column": view.grouping.title, "groups": known},
                )
            )
    return findings


def unknown_reference(single: Sequence[View]) -> Findings:
    """Flags a reference group that the data does not have, or has too few samples of."""
    findings = []
    for view in single:
        grouping = view.grouping
        if not grouping.reference or grouping.too_many:
            continue
        if grouping.reference not in grouping.names:
            message = unknown("reference group", grouping.reference, grouping.names)
        else:
            size = int(grouping.sizes[grouping.names.index(grouping.reference)])
            if size >= grouping.least:
                continue
            message = f"the reference group {grouping.reference!r} has {size} samples only"
        findings.append(
            Finding(
                code="reference-group",
                severity=Severity.SUSPECT,
                message=message,
                evidence={"column": grouping.title, "reference": grouping.reference},
            )
        )
    return findings


def group_is_target(evidence: Evidence, single: Sequence[View]) -> Findings:
    """Flags a column that tells the target: its groups then have nothing to be compared by."""
    if evidence.task.one_number:
        return []
    targets = evidence.needs["test"].samples.targets
    findings = []
    for view in single:
        grouping = view.grouping
        if grouping.too_many or len(grouping) < 2 or len(np.unique(targets)) < 2:
            continue
        pairs = np.unique(np.stack([grouping.codes, targets]), axis=1)
        if pairs.shape[1] == len(grouping) and grouping.sizes.min() > 1:
            findings.append(
                Finding(
                    code="group-tells-target",
                    severity=Severity.SUSPECT,
                    message=f"each group of column {grouping.title!r} has one target alone: is it "
                    "the target, or made of it?",
                    evidence={"column": grouping.title},
                )
            )
    return findings


def group_is_input(evidence: Evidence, columns: Sequence[str]) -> Findings:
    """Says which group columns the model is shown.

    Of logged answers nobody knows what was shown: whoever gave them can't be asked again.
    """
    if Capability.ANY_INPUT not in evidence.needs["test"].model.capabilities:
        return []
    seen = [name for name in columns if name in evidence.data.features]
    if not seen:
        return []
    return [
        Finding(
            code="group-is-input",
            severity=Severity.INFO,
            message=f"the model is shown {', '.join(repr(name) for name in seen)}; where it is not "
            "shown a column, other inputs may still tell it",
            evidence={"columns": seen},
        )
    ]
