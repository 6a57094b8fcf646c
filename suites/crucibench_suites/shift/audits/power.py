"""Could the drift tests have found anything?"""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.sides import SIDES

_FEW = 30
"""With fewer samples on a side only gross drift is found."""


def audit_drift(evidence: Evidence) -> Findings:
    """Tells of sides with so few samples that no drift found says little."""
    sizes = {side: len(evidence.needs[f"{side}/inputs"].samples) for side in SIDES}
    if not min(sizes.values()):
        message = "there are no samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    if min(sizes.values()) >= _FEW:
        return []
    message = (
        f"{sizes['home']} samples at home and {sizes['here']} here: with fewer than {_FEW} on a "
        "side only gross drift is found"
    )
    return [
        Finding(
            code="too-few-samples-for-drift", severity=Severity.SUSPECT, message=message,
            evidence=sizes,
        )
    ]  # fmt: skip
