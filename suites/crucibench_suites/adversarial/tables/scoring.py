"""How many columns examples change."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Evidence, Scored
from crucibench_suites.adversarial.metrics import MEDIAN_CHANGED
from crucibench_suites.adversarial.scoring import median_row


def with_changes(evidence: Evidence, scored: Scored) -> Scored:
    """Returns what is reported, and the changed columns beside."""
    if not len(evidence.own.records):
        return scored
    changed = evidence.own.records.array("changed").astype(np.float64)
    changed = changed[changed >= 0]
    if not len(changed):
        return scored
    row = median_row(MEDIAN_CHANGED.id, changed, evidence.options.level)
    return Scored([*scored.rows, row], scored.tables)
