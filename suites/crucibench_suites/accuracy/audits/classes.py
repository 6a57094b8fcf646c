"""Does every class have test samples?"""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.tasks.classification.view import ClassView

_SHOWN = 5


def missing_classes(answers: ClassView) -> Findings:
    """Reports classes without a sample: averages over classes leave them out or are undefined."""
    support = np.bincount(answers.targets, minlength=len(answers.classes))
    missing = [name for name, count in zip(answers.classes, support, strict=True) if not count]
    if not missing:
        return []
    shown = ", ".join(repr(name) for name in missing[:_SHOWN])
    more = ", ..." if len(missing) > _SHOWN else ""
    message = (
        f"{len(missing)} of {len(answers.classes)} classes have no test sample ({shown}{more}): "
        "averages over classes leave them out or are undefined"
    )
    evidence = {"missing": missing, "classes": len(answers.classes)}
    return [
        Finding(
            code="classes-without-samples",
            severity=Severity.INFO,
            message=message,
            evidence=evidence,
        )
    ]
