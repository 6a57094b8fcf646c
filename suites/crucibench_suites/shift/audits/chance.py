"""Is a worst group worse than the others, or the lowest by chance?"""

from __future__ import annotations

from collections.abc import Sequence

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.crossing import class_column
from crucibench_suites.shift.group_scoring import figures_by_partition

_SHOWN = 3


def audit_groups(evidence: Evidence, cross: Sequence[Sequence[str]], stream: str) -> Findings:
    """Tells of worst groups that may be worst by chance, and of groups that are too small."""
    cell = evidence.needs["pass"]
    if not len(cell.samples):
        message = "there are no samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    figures = figures_by_partition(evidence, cross, stream)
    alpha = 1 - evidence.options.level
    by_chance = {
        name: found.worst
        for name, found in figures.items()
        if found.worst is not None
        and found.worst.p_chance is not None
        and found.worst.p_chance >= alpha
    }
    findings: Findings = []
    if by_chance:
        told = "; ".join(
            f"by {name}, {worst.name!r} at {worst.value:.3g} (n {worst.n}), p {worst.p_chance:.2g}"
            for name, worst in list(by_chance.items())[:_SHOWN]
        )
        more = f" and {len(by_chance) - _SHOWN} more" if len(by_chance) > _SHOWN else ""
        findings.append(
            Finding(
                code="worst-group-by-chance", severity=Severity.INFO,
                message=f"a group so far below the others comes about by chance: {told}{more}",
                evidence={
                    name: {
                        "group": worst.name, "value": worst.value, "n": worst.n,
                        "p_chance": worst.p_chance, "sureness": worst.sureness,
                        "upper": worst.interval.upper if worst.interval else None,
                    }
                    for name, worst in by_chance.items()
                },
            )
        )  # fmt: skip
    with_class = f"{class_column(cell.samples.groups.columns)}, "
    small = {
        name: sum(not group.counts for group in found.groups)
        for name, found in figures.items()
        if not name.startswith(with_class) and any(not group.counts for group in found.groups)
    }
    if small:
        told = ", ".join(f"{count} by {name}" for name, count in small.items())
        findings.append(
            Finding(
                code="groups-too-small", severity=Severity.INFO,
                message=f"groups of fewer than {evidence.options.min_group_size} samples, or of "
                f"unknown ones, are shown and in no figure over groups: {told}",
                evidence=small,
            )
        )  # fmt: skip
    return findings
