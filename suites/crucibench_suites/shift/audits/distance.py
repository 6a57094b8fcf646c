"""Did a corruption do something, no more than it states, and more as it gets severer?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.corruptions.catalogue import Kernel
from crucibench_suites.shift.points import severity_of

_FLOOR = 0.25 / 255
"""Mean absolute distance below which an image looks as it was: a quarter of an 8-bit level."""

_UNCHANGED = 0.5
_SLACK = 1.05
_NOISE = 4.0
"""Standard errors that a mean distance may fall from one severity to the next."""


def did_nothing(records: Records) -> Findings:
    """Flags severities at which most images stayed as they were.

    Where the highest severity does something, the lower ones may be too fine for small images,
    which is only said.
    """
    shares = {
        point: float((records.at(point).array("distance") < _FLOOR).mean())
        for point in records.points
    }
    bad = {point: share for point, share in shares.items() if share > _UNCHANGED}
    if not bad:
        return []
    worst = max(bad, key=lambda point: bad[point])
    severity = Severity.SUSPECT if max(shares, key=severity_of) in bad else Severity.INFO
    message = (
        f"{100 * bad[worst]:.3g} % of the images are as before at {worst} (less than a quarter of "
        "an 8-bit level apart): accuracy there is clean accuracy"
    )
    return [_finding("corruption-did-nothing", severity, message, {"unchanged": bad})]


def larger_than_stated(records: Records, kernel: Kernel, parameter_set: str) -> Findings:
    """Flags severities whose mean distance exceeds what their parameters allow."""
    found = {}
    for point in records.points:
        stated = kernel.most(kernel.level(parameter_set, severity_of(point)))
        distance = float(records.at(point).array("distance").mean(dtype=np.float64))
        if distance > _SLACK * stated:
            found[point] = {"distance": distance, "at_most": stated}
    if not found:
        return []
    point, numbers = next(iter(found.items()))
    message = (
        f"images lie {numbers['distance']:.3g} from the clean ones on average at {point}, where "
        f"{kernel.name} can move them by {numbers['at_most']:.3g} at most"
    )
    return [_finding("larger-than-stated", Severity.INVALID, message, found)]


def not_monotone(records: Records, kernel: Kernel) -> Findings:
    """Flags a severity that lies closer to the clean images than the one before it.

    Some published levels are not in order of distance; for those it is only said.
    """
    points = sorted(records.points, key=severity_of)
    falls = []
    for before, after in pairwise(points):
        first, second = (
            records.at(point).array("distance").astype(np.float64) for point in (before, after)
        )
        gap = second - first
        error = float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else 0.0
        if gap.mean() < -max(_NOISE * error, _FLOOR):
            falls.append({"from": before, "to": after, "by": float(-gap.mean())})
    if not falls:
        return []
    first_fall = falls[0]
    message = (
        f"images lie {first_fall['by']:.3g} closer to the clean ones at {first_fall['to']} than at "
        f"{first_fall['from']}"
    )
    if not kernel.ordered:
        message += f", as the published levels of {kernel.name} may have it"
    severity = Severity.SUSPECT if kernel.ordered else Severity.INFO
    return [_finding("severity-not-monotone", severity, message, {"falls": falls})]


def _finding(
    code: str, severity: Severity, message: str, evidence: Mapping[str, object]
) -> Finding:
    return Finding(code=code, severity=severity, message=message, evidence=evidence)
