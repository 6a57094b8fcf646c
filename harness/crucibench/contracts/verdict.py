"""Status of a cell and verdict on its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """What became of a cell."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(StrEnum):
    """How far the numbers of an `ok` cell can be trusted."""

    VALID = "valid"
    SUSPECT = "suspect"
    INVALID = "invalid"


class Severity(StrEnum):
    """What a finding does to the verdict."""

    INFO = "info"
    SUSPECT = "suspect"
    INVALID = "invalid"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an audit found.

    Attributes:
        code: a stable name, e.g. ``constant-prediction``.
        severity: ``info`` leaves the verdict as it is.
        message: one sentence with the numbers.
        evidence: the numbers as plain data.
        cell: the cell it was found in, where that is a need of the cell that shows it.
    """

    code: str
    severity: Severity
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cell: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Returns plain data, as it is stored."""
        return {
            "code": self.code,
            "severity": str(self.severity),
            "message": self.message,
            "evidence": dict(self.evidence),
            "cell": self.cell,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """The inverse of `as_dict`."""
        return cls(**{**data, "severity": Severity(data["severity"])})


def no_samples(of: str = "test samples") -> Finding:
    """Returns the finding that there is nothing to speak of."""
    return Finding(code="no-samples", severity=Severity.INVALID, message=f"there are no {of}")


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Returns the worst that `findings` say."""
    severities = {finding.severity for finding in findings}
    if Severity.INVALID in severities:
        return Verdict.INVALID
    return Verdict.SUSPECT if Severity.SUSPECT in severities else Verdict.VALID
