"""Did every corrupted image hold numbers?"""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity


def non_finite(records: Records) -> Findings:
    """Flags images whose distance from the clean one is not a number: neither are their pixels."""
    bad = ~np.isfinite(records.array("distance"))
    if not bad.any():
        return []
    points = sorted(set(records.array("point")[bad].tolist()))
    message = (
        f"{int(bad.sum())} of {len(bad)} shifted images hold values that are not finite, at "
        f"{', '.join(points)}"
    )
    evidence = {"images": int(bad.sum()), "of": len(bad), "points": points}
    return [
        Finding(
            code="non-finite-images", severity=Severity.INVALID, message=message, evidence=evidence
        )
    ]
