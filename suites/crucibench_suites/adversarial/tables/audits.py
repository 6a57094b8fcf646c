"""Audits of attacks on tables."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Evidence, Findings
from crucibench_suites.adversarial.audits.probed import finding
from crucibench_suites.adversarial.blackbox.audits import audit_budgeted
from crucibench_suites.adversarial.outcomes import Series
from crucibench_suites.adversarial.threat import Sees


def audit_table(series: Series, access: Sees, evidence: Evidence) -> Findings:
    """Returns findings from records and probe records."""
    found = audit_budgeted(series, access, evidence)
    if not len(evidence.own.records):
        return found
    breaches = evidence.own.records.array("breaches")
    rows = int((breaches > 0).sum())
    if rows:
        found.append(
            finding(
                "constraints-broken",
                f"{rows} of {len(breaches)} rows that the search came to break declared "
                "constraints that the row itself keeps: none of them counts, and the search is at "
                "fault",
                {"rows": rows, "samples": len(breaches), "breaches": int(np.sum(breaches))},
                invalid=True,
            )
        )
    return found
