"""Audits of roles: the same sample on two sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.util.ids import contents
from crucibench_suites.ood.sources import OODSet

_LEAKED = 0.01
"""Share of test samples in train from which numbers are suspect."""

_FAMILIAR = 0.01
"""Share of an OOD set that is in the test or train role from which it is suspect."""


def audit_sets(evidence: Evidence, sets: Sequence[OODSet]) -> Findings:
    """Says which samples are familiar and unfamiliar at once, or were there to fit on."""
    roles = {"test": contents(evidence.needs["test"].samples.ids)}
    if "train" in evidence.needs:
        roles["train"] = contents(evidence.needs["train"].samples.ids)
    findings: Findings = []
    if "train" in roles:
        both = _among(roles["test"], roles["train"])
        if both:
            share = both / len(roles["test"])
            message = (
                f"{both} of {len(roles['test'])} test samples ({100 * share:.3g} %) are in the "
                "train role, too: detectors that are fitted on it know them"
            )
            findings.append(_finding("train-overlaps-test", share >= _LEAKED, message, {"n": both}))
    ids = {
        one.address: contents(evidence.needs[one.address].samples.ids)
        for one in sets
        if not one.generated
    }
    for address, names in ids.items():
        findings += _overlaps(address, names, roles)
    return [*findings, *_between(ids)]


def _overlaps(
    address: str, names: NDArray[np.object_], roles: Mapping[str, NDArray[np.object_]]
) -> Findings:
    found: Findings = []
    for role, others in roles.items():
        both = _among(names, others)
        if both:
            share = both / len(names)
            message = (
                f"{both} of {len(names)} samples of {address} ({100 * share:.3g} %) are in the "
                f"{role} role: they are not out-of-distribution"
            )
            evidence = {"set": address, "role": role, "n": both}
            found.append(_finding("ood-overlaps-id", share >= _FAMILIAR, message, evidence))
    return found


def _between(ids: Mapping[str, NDArray[np.object_]]) -> Findings:
    """Says which validation samples are scored after all."""
    found: Findings = []
    for chosen_by, names in ids.items():
        for address, others in ids.items():
            if not chosen_by.startswith("validation/") or address.startswith("validation/"):
                continue
            if both := _among(others, names):
                message = (
                    f"{both} of {len(others)} samples of {address} are in {chosen_by}, too: "
                    "settings were chosen by what is scored"
                )
                evidence = {"set": address, "validation": chosen_by, "n": both}
                suspect = both / len(others) >= _FAMILIAR
                found.append(_finding("validation-overlaps-scored", suspect, message, evidence))
    return found


def _among(names: NDArray[np.object_], others: NDArray[np.object_]) -> int:
    return int(np.asarray(pd.Index(names, dtype=object).isin(pd.Index(others, dtype=object))).sum())


def _finding(code: str, suspect: bool, message: str, evidence: Mapping[str, object]) -> Finding:
    severity = Severity.SUSPECT if suspect else Severity.INFO
    return Finding(code=code, severity=severity, message=message, evidence=evidence)
