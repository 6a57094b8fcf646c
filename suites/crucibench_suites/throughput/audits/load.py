"""Whether the model kept up with what arrived."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.throughput.readings import Readings

BEHIND = 0.95


def overloaded(readings: Readings, loads: Sequence[float]) -> Findings:
    """Tells loads at which the model was busy nearly all the time, so that the queue just grew.

    Then latency says how long was measured, not how the model is.
    """
    found: Findings = []
    for load in loads:
        point = f"load={load:g}"
        queries = readings.queries(point)
        # Whoever is asked at the scheduled instant waits for nobody.
        busy = float((queries.seconds - queries.waited).sum())
        offered = busy / len(queries) * float(readings.fact("rate", point).mean())
        if offered > BEHIND:
            found.append(
                Finding(
                    code="overloaded",
                    severity=Severity.SUSPECT,
                    message=f"{point}: queries arrived at {100 * offered:.3g} % of the rate at "
                    "which the model answered them here: the queue grew, and latency depends on "
                    "how long was measured",
                    evidence={"point": point, "offered": offered, "median_wait": float(
                        np.median(queries.waited))},
                )
            )  # fmt: skip
    return found
