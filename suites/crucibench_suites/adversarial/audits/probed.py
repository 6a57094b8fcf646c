"""The probe records of a cell, and what counts as more than a few of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.evidence import Evidence
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.probing import PROBE


@dataclass(frozen=True)
class Probed:
    """What the model was asked after the attacks, a row a sample.

    Attributes:
        records: of the probe stage.
        deep: whether a sample withstood some radius and was asked what else may break it, (m,).
    """

    records: Records
    deep: NDArray[np.bool_]

    @classmethod
    def of(cls, evidence: Evidence) -> Probed | None:
        """Returns the probe records, or None where there are none."""
        records = evidence.own.records
        if not len(records) or "noise_breaks" not in records:
            return None
        table = records.table
        own = Records(table.filter(pc.equal(table.column("attack"), PROBE)))
        if not len(own):
            return None
        return cls(own, own.array("noise_breaks") >= 0)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.records.array(column)


def beyond(count: int, of: int, share: float) -> bool:
    """Whether `count` is above a share, and no single sample, unless there is but one."""
    return of > 0 and count >= min(2, of) and count > share * of


def finding(
    code: str, message: str, evidence: Mapping[str, Any], *, invalid: bool = False
) -> Finding:
    """Returns a finding that makes a cell suspect, or invalid."""
    severity = Severity.INVALID if invalid else Severity.SUSPECT
    return Finding(code=code, severity=severity, message=message, evidence=evidence)
