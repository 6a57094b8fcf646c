"""Was the decision threshold that the user set really applied?"""

from __future__ import annotations

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.tasks.classification.view import ClassView

_DEFAULT = 0.5


def threshold_not_applied(answers: ClassView) -> Findings:
    """Flags a threshold other than 0.5 for a model whose probabilities are not known."""
    if answers.positive is None or answers.at_threshold or answers.threshold == _DEFAULT:
        return []
    message = (
        f"the decision threshold {answers.threshold:g} was not applied, since {answers.why_none}: "
        "the model's own labels are scored"
    )
    evidence = {"threshold": answers.threshold, "positive": answers.classes[answers.positive]}
    return [
        Finding(
            code="threshold-not-applied",
            severity=Severity.SUSPECT,
            message=message,
            evidence=evidence,
        )
    ]
