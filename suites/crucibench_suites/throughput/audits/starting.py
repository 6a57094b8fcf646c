"""Whether a cold start, and what is sustained after a rest, say something steady of the model."""

from __future__ import annotations

import math

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import student_t
from crucibench_suites.throughput.readings import Floats, Readings
from crucibench_suites.throughput.scoring import variation

UNSTEADY = 0.20
"""The coefficient of variation of cold starts beyond which their mean says little."""

SLOWER = 0.05
"""By so much latency may grow when load is sustained."""


def unsteady_starts(readings: Readings) -> Findings:
    """Whether one start takes much longer than another."""
    starts = sum(readings.fact(name) for name in ("process", "load", "prepare", "first"))
    if not isinstance(starts, int) and len(starts) > 1 and (spread := variation(starts)) > UNSTEADY:
        return [
            Finding(
                code="unsteady-starts",
                severity=Severity.SUSPECT,
                message=f"cold starts vary by {100 * spread:.3g} % between {len(starts)} processes "
                "(coefficient of variation): the machine was busy, or files had to be fetched",
                evidence={"coefficient_of_variation": spread, "processes": len(starts)},
            )
        ]
    return []


def slower_when_sustained(ratios: Floats, level: float) -> Findings:
    """Whether the model slows down while it is asked without a pause: throttling, or a leak."""
    interval = student_t([math.log(ratio) for ratio in ratios], level)
    if interval.lower <= math.log(1 + SLOWER):
        return []
    ratio = math.exp((interval.lower + interval.upper) / 2)
    return [
        Finding(
            code="slower-when-sustained",
            severity=Severity.SUSPECT,
            message=f"asked without a pause the model takes {ratio:.3g} times as long as after a "
            f"rest [{math.exp(interval.lower):.3g}, {math.exp(interval.upper):.3g}]: short "
            "measurements flatter it (throttling, or a leak)",
            evidence={"ratio": ratio, "stretches": len(ratios)},
        )
    ]
