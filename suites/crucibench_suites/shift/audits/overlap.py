"""Are the shifted samples new, or are some in the home test set or the training set, too?"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.task import Modality
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.shift.sides import HERE, HOME, TRAIN

_SUSPECT = 0.01
"""Share of shifted samples in the other set from which numbers are suspect."""

_HASH = re.compile(r"([0-9a-f]{32})-\d+")
"""An id of a content that repeats, numbered."""

_SETS = {HOME: ("test", "the home test set"), TRAIN: ("train", "the training set")}


def audit_place(evidence: Evidence) -> Findings:
    """Says which shifted samples are exact duplicates, by content, of others."""
    here = evidence.needs[HERE]
    if not len(here.samples):
        message = "there are no samples"
        return [Finding(code="no-samples", severity=Severity.INVALID, message=message)]
    names = contents(here.samples.ids)
    findings: Findings = []
    for alias, (short, long) in _SETS.items():
        other = evidence.needs.get(alias)
        if other is None:
            continue
        shared = np.asarray(pd.Index(names).isin(pd.Index(contents(other.samples.ids))))
        count, n = int(shared.sum()), len(shared)
        if not count:
            continue
        table = evidence.task.modality is Modality.TABLE
        hint = " (in a table, equal rows may be different cases)" if table else ""
        findings.append(
            Finding(
                code=f"duplicates-between-{short}-and-shifted",
                severity=Severity.SUSPECT if count >= _SUSPECT * n else Severity.INFO,
                message=f"{count} of {n} samples ({100 * count / n:.2g} %) are in {long}, too"
                f"{hint}: the data is less new, or less shifted, than it seems",
                evidence={"n": n, "count": count, "share": count / n},
            )
        )
    return findings


def contents(ids: NDArray[np.object_]) -> NDArray[np.object_]:
    """Returns the name of each sample's content: its hash without the number of a repetition."""
    names = np.empty(len(ids), dtype=object)
    for row, identity in enumerate(ids.tolist()):
        repeated = _HASH.fullmatch(identity)
        names[row] = repeated[1] if repeated else identity
    return names
