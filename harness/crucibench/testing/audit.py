"""The conformance kit: whether an audit finds what it is there for, and nothing else."""

from __future__ import annotations

import json

from crucibench.contracts.audit import Audit, AuditCase
from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity


def check_audit(audit: Audit) -> None:
    """Checks that an audit finds its planted defects and leaves its clean case alone.

    Args:
        audit: as it is registered.

    Raises:
        AssertionError: naming the promise that is broken, and how.
    """
    answer = audit.answer()
    if answer is None or not answer.planted:
        raise _broken(audit, "known answer", "it has none: nothing shows what it finds")
    if not audit.description:
        raise _broken(audit, "declaration", "it has no description")
    for code, make in answer.planted.items():
        found = _found(audit, make())
        codes = [finding.code for finding in found]
        if code not in codes:
            raise _broken(audit, "planted defect", f"expected {code!r}, got {codes}")
        for finding in found:
            _require_sound(audit, finding)
    for code, make in answer.spared.items():
        if code in [finding.code for finding in _found(audit, make())]:
            raise _broken(audit, "spared case", f"it finds {code!r} where there is none")
    for finding in _found(audit, answer.clean()):
        if finding.code in answer.planted or finding.severity is not Severity.INFO:
            message = f"{finding.code}: {finding.message}"
            raise _broken(audit, "clean case", f"it finds something: {message}")


def _found(audit: Audit, case: AuditCase) -> Findings:
    """Returns what it finds, the same when it is asked again."""
    first, again = (audit.find(case.evidence, case.scenario) for _ in range(2))
    if first != again:
        raise _broken(audit, "repeatable", "the same evidence leads to other findings")
    return first


def _require_sound(audit: Audit, finding: Finding) -> None:
    if not finding.code or finding.message != finding.message.strip() or not finding.message:
        raise _broken(audit, "finding", f"code {finding.code!r}, message {finding.message!r}")
    try:
        json.dumps(dict(finding.evidence), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise _broken(audit, "finding", f"its evidence is not plain data: {error}") from error


def _broken(audit: Audit, promise: str, sentence: str) -> AssertionError:
    return AssertionError(f"{audit.name}: {promise}: {sentence}")
