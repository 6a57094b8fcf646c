"""Did a perturbation do something, no more than it states, and leave a sample that can be read?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.audits.gain import better_when_shifted
from crucibench_suites.shift.points import severity_of

_UNCHANGED = 0.5
_ERRORS = 5.0
"""Standard errors that a mean may lie above a level that holds on average."""


def audit_perturbed(evidence: Evidence, parameters: Mapping[str, Any]) -> Findings:
    """Returns what speaks against a perturbation's numbers."""
    if not len(evidence.own.samples):
        message = "there are no test samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    records = evidence.own.records
    findings = [
        *_did_nothing(records, parameters),
        *_larger_than_stated(records, parameters),
        *_spoilt(records),
    ]
    if evidence.task.kind == "classification":
        findings += better_when_shifted(evidence)
    return findings


def _did_nothing(records: Records, parameters: Mapping[str, Any]) -> Findings:
    """Flags a highest severity at which most samples stayed as they were.

    At lower ones it is only said, and only where none changed: a small share of the values of a
    table need not reach half of its rows.
    """
    shares = {
        point: float(1 - records.at(point).array("touched").mean()) for point in records.points
    }
    highest = max(shares, key=severity_of)
    bad = {point: share for point, share in shares.items() if share == 1}
    if shares[highest] > _UNCHANGED:
        bad[highest] = shares[highest]
    if not bad:
        return []
    worst = highest if highest in bad else max(bad, key=severity_of)
    severity = Severity.SUSPECT if highest in bad else Severity.INFO
    message = (
        f"{100 * bad[worst]:.3g} % of the samples are as before at {worst}: its numbers are nearly "
        f"those of clean samples (it can be done to: {parameters['scope']})"
    )
    return [_finding("perturbation-did-nothing", severity, message, {"unchanged": bad})]


def _larger_than_stated(records: Records, parameters: Mapping[str, Any]) -> Findings:
    """Flags severities that touched more than their level allows.

    A level bounds either each sample (the share of its units, rounded up) or the mean over samples,
    with `_ERRORS` standard errors on top.
    """
    found = {}
    for point in records.points:
        at = records.at(point)
        level = float(parameters["levels"][str(severity_of(point))])
        if parameters["per_sample"]:
            over = _over(at, level)
        else:
            distance = at.array("distance").astype(np.float64)
            slack = _ERRORS * distance.std() / np.sqrt(len(distance))
            over = int(len(distance) if distance.mean() > level + slack + 1e-6 else 0)
        if over:
            found[point] = over
    if not found:
        return []
    point, count = next(iter(found.items()))
    message = (
        f"{count} of {len(records.at(point))} samples are changed by more than the "
        f"{parameters['levels'][str(severity_of(point))]:g} ({parameters['unit']}) of {point}"
    )
    return [_finding("larger-than-stated", Severity.INVALID, message, {"samples": found})]


def _over(records: Records, level: float) -> int:
    edits, units = (records.array(name).astype(np.float64) for name in ("edits", "units"))
    over: NDArray[np.bool_] = edits > np.ceil(level * units - 1e-9)
    return int(over.sum())


def _spoilt(records: Records) -> Findings:
    """Flags samples that are no longer what they have to be."""
    spoilt = records.array("spoilt").astype(np.bool_)
    if not spoilt.any():
        return []
    points = sorted(set(records.array("point")[spoilt].tolist()))
    message = (
        f"{int(spoilt.sum())} of {len(spoilt)} perturbed samples are spoilt, at "
        f"{', '.join(points)}: a text has lost more than half of its letters, or a table's value "
        "its type or its bounds"
    )
    evidence = {"samples": int(spoilt.sum()), "of": len(spoilt), "points": points}
    return [_finding("perturbation-spoils", Severity.INVALID, message, evidence)]


def _finding(
    code: str, severity: Severity, message: str, evidence: Mapping[str, object]
) -> Finding:
    return Finding(code=code, severity=severity, message=message, evidence=evidence)
