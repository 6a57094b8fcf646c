"""Whether the attacks themselves find what is there, where that is known."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench_suites.adversarial.audits.probed import finding
from crucibench_suites.adversarial.protocol import SELF_TEST


def audit_self_tests(evidence: Evidence) -> Findings:
    """Returns a finding for each attack that failed its self-test."""
    probe = evidence.own.probes.get(SELF_TEST)
    if probe is None:
        return []
    return [
        finding(
            "attack-fails-self-test",
            f"an attack fails where the answer is known: {row['reason']}",
            {
                "attack": row["id"],
                "ratio": float(row["ratio"]),
                "tolerance": float(row["tolerance"]),
                "found": float(row["found"]),
            },
            invalid=True,
        )
        for row in probe.table.to_pylist()
        if not row["passed"]
    ]
