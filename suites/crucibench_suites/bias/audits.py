"""Audits of groups: each a pure function of what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crucibench.contracts.audit import Audit
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.util.suggest import unknown
from crucibench_suites.bias.gaps import GroupGap
from crucibench_suites.bias.groupings import MOST_GROUPS
from crucibench_suites.bias.measures import View
from crucibench_suites.bias.scoring import adjusted, views_and_gaps

_UNKNOWN = 0.20
"""Share of samples of unknown group from which gaps are suspect."""

_WIDE, _TOO_WIDE = 0.10, 0.30
"""Detectable differences worth saying, and so large that hardly any gap would be seen."""

_CHANCE = 0.05
"""Gaps that shuffling makes no more often have been found."""

_ACCURACY = "top-1-difference"

_SHOWN = 3

_FOUR_FIFTHS = 0.8


def audit_groups(evidence: Evidence, parameters: Mapping[str, Any], stream: str) -> Findings:
    """Returns what speaks against the numbers, or must be known to read them."""
    if not len(evidence.needs["test"].samples):
        return [no_samples()]
    views, gaps = views_and_gaps(evidence, parameters, stream)
    single = [view for view in views if len(view.grouping.columns) == 1]
    return [
        *too_many_groups(single),
        *one_group(single),
        *unknown_reference(single),
        *group_is_target(evidence, single),
        *group_is_input(evidence, parameters["columns"]),
        *unknown_groups(single),
        *small_groups(views),
        *too_few_for_gaps(gaps),
        *constant_in_group(evidence, single),
        *undefined_rates(single),
        *base_rates_differ(gaps),
        *four_fifths(gaps),
    ]


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
    if not evidence.task.one_class:
        return []
    targets = evidence.needs["test"].samples.targets
    findings = []
    for view in single:
        grouping = view.grouping
        if grouping.too_many or len(grouping) < 2 or len(np.unique(targets)) < 2:
            continue
        pairs = np.unique(grouping.codes * (int(targets.max()) + 2) + targets + 1)
        if len(pairs) == len(grouping) and grouping.sizes.min() > 1:
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


def unknown_groups(single: Sequence[View]) -> Findings:
    """Says how many samples have no known group."""
    findings = []
    for view in single:
        grouping = view.grouping
        if NO_GROUP not in grouping.names:
            continue
        count, n = int(grouping.sizes[grouping.names.index(NO_GROUP)]), len(grouping.codes)
        findings.append(
            Finding(
                code="unknown-groups",
                severity=Severity.SUSPECT if count >= _UNKNOWN * n else Severity.INFO,
                message=f"{count} of {n} samples ({100 * count / n:.2g} %) have no known "
                f"{grouping.title}: they are shown by themselves and not compared",
                evidence={"column": grouping.title, "count": count, "n": n},
            )
        )
    return findings


def small_groups(views: Sequence[View]) -> Findings:
    """Says which groups are too small to be compared."""
    findings = []
    for view in views:
        grouping = view.grouping
        if grouping.too_many:
            continue
        small = [
            (grouping.names[place], int(size))
            for place, size in enumerate(grouping.sizes)
            if size < grouping.least and grouping.names[place] != NO_GROUP
        ]
        if not small:
            continue
        named = ", ".join(f"{name!r} ({size})" for name, size in small[:_SHOWN])
        more = f" and {len(small) - _SHOWN} more" if len(small) > _SHOWN else ""
        findings.append(
            Finding(
                code="small-groups",
                severity=Severity.INFO,
                message=f"{len(small)} of {len(grouping)} groups of {grouping.title} have fewer "
                f"than {grouping.least} samples and are not compared: {named}{more}",
                evidence={"columns": grouping.title, "groups": dict(small)},
            )
        )
    return findings


def too_few_for_gaps(gaps: Sequence[GroupGap]) -> Findings:
    """Says of which columns only large gaps would show; suspect where that goes for all of them."""
    shown = [one for one in gaps if _can_be_shown(one)]
    accuracy = [one for one in shown if one.gap.id == _ACCURACY]
    blind = bool(accuracy) and all(_hidden(one, _TOO_WIDE) for one in accuracy)
    findings = []
    for name in dict.fromkeys(one.grouping.title for one in shown):
        hidden = [one for one in shown if one.grouping.title == name and _hidden(one, _WIDE)]
        if not hidden:
            continue
        worst = max(hidden, key=lambda one: one.detectable)
        findings.append(
            Finding(
                code="gap-not-detectable",
                severity=Severity.SUSPECT if blind else Severity.INFO,
                message=f"between the groups of {name}, {worst.gap.id} below about "
                f"{worst.detectable:.2g} would often not be seen: such a gap can neither be found "
                "nor ruled out by these samples",
                evidence={
                    "column": name,
                    "detectable": {one.gap.id: one.detectable for one in hidden},
                    "n": worst.n,
                },
            )
        )
    return findings


def _hidden(one: GroupGap, width: float) -> bool:
    return one.detectable >= width and one.p_chance > _CHANCE


def _can_be_shown(one: GroupGap) -> bool:
    single = len(one.grouping.columns) == 1
    return single and one.tested and not math.isnan(one.detectable)


def constant_in_group(evidence: Evidence, single: Sequence[View]) -> Findings:
    """Flags groups that get one answer for all, though their targets differ.

    A model that answers everybody alike is the accuracy suite's finding.
    """
    if not evidence.task.one_class:
        return []
    answers = evidence.task.definition.view(evidence.needs["test"], evidence.task)
    if len(np.unique(answers.predictions)) < 2:
        return []
    findings = []
    for view in single:
        for place in () if view.grouping.too_many else view.grouping.compared:
            inside = np.flatnonzero(view.grouping.codes == place)
            predicted = answers.predictions[inside]
            if (predicted != predicted[0]).any():
                continue
            rare = len(inside) - int(np.bincount(answers.targets[inside]).max())
            if rare == 0:
                continue
            name, label = view.grouping.names[place], answers.classes[predicted[0]]
            findings.append(
                Finding(
                    code="constant-in-group",
                    severity=Severity.SUSPECT,
                    message=f"all {len(inside)} samples of {name!r} are answered "
                    f"{label!r}, though {rare} have other targets than most",
                    evidence={"group": name, "n": len(inside), "label": label},
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


def base_rates_differ(gaps: Sequence[GroupGap]) -> Findings:
    """Says where groups have other shares of positives: then not all gaps can vanish at once."""
    p_holm = adjusted(gaps)
    findings = []
    for one in gaps:
        if one.gap.id != "base-rate-difference" or len(one.grouping.columns) > 1:
            continue
        p = p_holm.get((one.grouping.title, one.gap.id), 1.0)
        if one.value is None or p > _CHANCE:
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


def four_fifths(gaps: Sequence[GroupGap]) -> Findings:
    """Notes a selection-rate ratio below four fifths, and what that does not say."""
    findings = []
    for one in gaps:
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


_KNOWN = "crucibench_suites.bias.known_answers:"

GROUPS = Audit(
    name="groups",
    description="Can groups be compared, and is a gap between them what it seems?",
    function=lambda evidence, scenario: audit_groups(
        evidence, scenario.parameters, scenario.stream
    ),
    known_answer=_KNOWN + "GROUPS",
)

ACROSS = Audit(
    name="groups-across",
    description="Do groups move apart under what another suite does to the samples?",
    function="crucibench_suites.bias.across_scoring:audit_across",
    known_answer=_KNOWN + "ACROSS",
)

SWAPPED = Audit(
    name="groups-swapped",
    description="Could every sample of a known group be given another one?",
    function="crucibench_suites.bias.swapping:audit_swapped",
    known_answer=_KNOWN + "SWAPPED",
)

REWORDED = Audit(
    name="groups-reworded",
    description="Do enough texts name a group?",
    function="crucibench_suites.bias.swapping:audit_reworded",
    known_answer=_KNOWN + "REWORDED",
)
