"""Are groups large enough, and known, for the gaps to say something?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from crucibench.contracts.data import NO_GROUP
from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.bias.found import Found
from crucibench_suites.bias.views import View

_UNKNOWN = 0.20
"""Share of samples of unknown group from which gaps are suspect."""

_WIDE, _TOO_WIDE = 0.10, 0.30
"""Detectable differences worth saying, and so large that hardly any gap would be seen."""

_CHANCE = 0.05
"""Gaps that shuffling makes no more often have been found."""

_ACCURACY = "top-1-difference"

_SHOWN = 3


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


def too_few_for_gaps(found: Sequence[Found]) -> Findings:
    """Says of which columns only large gaps would show; suspect where that goes for all of them."""
    shown = [one for one in found if _can_be_shown(one)]
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


def _hidden(one: Found, width: float) -> bool:
    return one.detectable >= width and one.p_chance > _CHANCE


def _can_be_shown(one: Found) -> bool:
    single = len(one.grouping.columns) == 1
    return single and one.tested and not math.isnan(one.detectable)
