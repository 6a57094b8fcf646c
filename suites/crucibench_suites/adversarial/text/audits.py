"""Whether the numbers of an attack on texts can be believed."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Evidence, Findings
from crucibench_suites.adversarial.audits.probed import beyond, finding
from crucibench_suites.adversarial.audits.series import audit_self_tests, audit_series
from crucibench_suites.adversarial.blackbox.audits import against_labels, nearing
from crucibench_suites.adversarial.outcomes import Series, read_outcomes

_SHARE = 0.05
_HALF = 0.5
_ENOUGH = 10
"""Questions about a sample before one may ask what they were good for."""


def audit_texts(series: Series, evidence: Evidence) -> Findings:
    """Returns findings from records and probe records."""
    found = audit_self_tests(evidence)
    records = evidence.own.records
    if not len(records):
        return found
    found += audit_series(series, read_outcomes(series, evidence))
    examples = int((records.array("prediction") >= 0).sum())
    unchanged = int(records.array("unchanged").sum())
    if beyond(unchanged, examples, _SHARE):
        found.append(
            finding(
                "unchanged-examples",
                f"{unchanged} of {examples} examples are the very texts that the model got right "
                "before: its answers change by themselves, and nothing was attacked",
                {"examples": examples, "unchanged": unchanged},
                invalid=unchanged > _HALF * examples,
            )
        )
    spoilt = int(records.array("spoilt").sum())
    if beyond(spoilt, examples, _SHARE):
        found.append(
            finding(
                "unreadable-examples",
                f"{spoilt} of {examples} examples have less than half, or more than twice, the "
                "letters and digits of their texts: the label may be gone with them",
                {"examples": examples, "spoilt": spoilt},
            )
        )
    found += _nothing_to_change(evidence)
    if series.threat.access == "decision":
        return found + nearing(series, evidence)
    return found + _unmoved(evidence) + against_labels(series, evidence)


def _nothing_to_change(evidence: Evidence) -> Findings:
    """Looks at samples of which no word could be changed: they withstand whatever the model is."""
    records = evidence.own.records
    # Where not one word may be changed candidates are not looked for, and none is there.
    idle = int(((records.array("choices") == 0) | (records.array("queries") == 0)).sum())
    asked = len(records)
    if idle <= _HALF * asked:
        return []
    return [
        finding(
            "nothing-to-change",
            f"of {idle} of {asked} texts no word could be changed: too few words for the share, "
            "or no edit or substitution for those that are not left alone; that they withstand "
            "says nothing about the model",
            {"samples": asked, "idle": idle},
        )
    ]


def _unmoved(evidence: Evidence) -> Findings:
    """Looks at whether questions moved the model's scores at all."""
    records = evidence.own.records
    asked = records.array("queries") >= _ENOUGH
    still = int((asked & (records.array("moved") == 0)).sum())
    count = int(asked.sum())
    if not beyond(still, count, _SHARE):
        return []
    most = int(np.median(records.array("queries")[asked]))
    return [
        finding(
            "queries-gain-nothing",
            f"no question about {still} of {count} texts moved the scores ({most} questions each, "
            "median): a search has nothing to follow, as where scores are rounded or "
            "saturated",
            {"samples": count, "unmoved": still, "queries": most},
            invalid=still > _HALF * count,
        )
    ]
