"""Whether the model is faster on inputs that it has seen (MLPerf's TEST04)."""

from __future__ import annotations

import math

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import student_t
from crucibench_suites.throughput.readings import Readings
from crucibench_suites.throughput.tape import FRESH, REPEATED

FASTER = 0.10
"""TEST04's: a repeated input that is answered faster by more is answered from a cache."""

_LEVEL = 0.999
"""The finding makes times invalid: an honest model on a noisy machine must hardly ever get it."""


def cached_answers(readings: Readings) -> Findings:
    """Compares new inputs with the same ones asked about again, by round."""
    new, again = readings.queries("", FRESH).medians, readings.queries("", REPEATED).medians
    if len(new) != len(again) or len(new) < 2:
        return []
    ratios = np.log(np.maximum(new, 1e-12) / np.maximum(again, 1e-12))
    interval = student_t(ratios, _LEVEL)
    if interval.lower <= math.log(1 + FASTER):
        return []
    ratio = math.exp(float(ratios.mean()))
    low, high = math.exp(interval.lower), math.exp(interval.upper)
    return [
        Finding(
            code="answers-from-a-cache",
            severity=Severity.INVALID,
            message=f"an input that the model has not seen takes {ratio:.3g} times as long as when "
            f"it is asked about again [{low:.3g}, {high:.3g}]: answers come from a cache, and the "
            "timed queries repeat",
            evidence={"ratio": ratio, "lower": low, "upper": high, "rounds": len(new)},
        )
    ]
