"""Whether `timed` came back before the work was done."""

from __future__ import annotations

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.throughput.readings import Readings

IDLE = 0.2
"""Cores that an idle process may use: threads that look for work a while before they sleep."""


def unfinished_work(readings: Readings) -> Findings:
    """Looks at what the process still did 0.3 s after the last answer."""
    idle = readings.fact("idle-cpu")
    if not len(idle) or float(idle.max()) <= IDLE:
        return []
    return [
        Finding(
            code="unfinished-work",
            severity=Severity.SUSPECT,
            message=f"0.3 s after its last answer the process still used {float(idle.max()):.2g} "
            "cores: queries may have been timed before their work was done",
            evidence={"cores": float(idle.max())},
        )
    ]
