"""What a model's answers within a group leave to be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.tasks.classification.view import view_of_pass
from crucibench_suites.bias.views import View


def constant_in_group(evidence: Evidence, single: Sequence[View]) -> Findings:
    """Flags groups that get one answer for all, though their targets differ.

    A model that answers everybody alike is the accuracy suite's finding.
    """
    if evidence.task.one_number:
        return []
    answers = view_of_pass(evidence.needs["test"], evidence.task)
    if len(np.unique(answers.predictions)) < 2:
        return []
    findings = []
    for view in single:
        for place in () if view.grouping.too_many else view.grouping.compared:
            inside = view.grouping.codes == place
            said = np.unique(answers.predictions[inside])
            rare = int(inside.sum() - np.bincount(answers.targets[inside]).max())
            if len(said) > 1 or rare == 0:
                continue
            name, label = view.grouping.names[place], answers.classes[said[0]]
            findings.append(
                Finding(
                    code="constant-in-group",
                    severity=Severity.SUSPECT,
                    message=f"all {int(inside.sum())} samples of {name!r} are answered "
                    f"{label!r}, though {rare} have other targets than most",
                    evidence={"group": name, "n": int(inside.sum()), "label": label},
                )
            )
    return findings


def undefined_rates(single: Sequence[View]) -> Findings:
    """Says which compared groups have no sample that a rate is a share of."""
    findings = []
    for view in single:
        if view.grouping.too_many:
            continue
        lacking: dict[str, list[str]] = {}
        for one in view.measured.values():
            for place in view.grouping.compared:
                if not np.isfinite(one.by_group.values[place]):
                    lacking.setdefault(one.undefined, [])
                    name = view.grouping.names[place]
                    if name not in lacking[one.undefined]:
                        lacking[one.undefined].append(name)
        for why, names in lacking.items():
            findings.append(
                Finding(
                    code="undefined-rate",
                    severity=Severity.INFO,
                    message=f"{', '.join(repr(name) for name in names)} has {why}: gaps in rates "
                    "among such samples leave it out",
                    evidence={"column": view.grouping.title, "groups": names, "reason": why},
                )
            )
    return findings
