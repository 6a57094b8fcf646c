"""What the records of the attacks say about how far their number can be trusted."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.outcomes import Series, read_outcomes

BLACK_BOX_SHARE = 0.002
"""AutoAttack warns where Square gains more than 0.2 points; two samples are the least."""

UNCONFIRMED_SHARE = 0.05


def audit_attacks(series: Series, evidence: Evidence) -> Findings:
    """Returns findings from the records alone."""
    if not len(evidence.own.samples):
        return []
    outcomes = read_outcomes(series, evidence)
    found: Findings = []
    if "square" in outcomes.after:
        earlier = outcomes.after[series.stages[series.stages.index("square") - 1]]
        gained = int((outcomes.after["square"] < earlier).sum())
        if gained >= max(2, BLACK_BOX_SHARE * len(outcomes.right)):
            found.append(
                Finding(
                    code="black-box-beats-gradients",
                    severity=Severity.SUSPECT,
                    message=f"Square, which sees no gradients, broke {gained} samples that the "
                    "gradient attacks missed: gradients may be masked, and the true robust "
                    "accuracy lower.",
                    evidence={"broken": gained, "samples": len(outcomes.right)},
                )
            )
    seen, failed = outcomes.examples
    if failed > max(1, UNCONFIRMED_SHARE * seen):
        found.append(
            Finding(
                code="unconfirmed-examples",
                severity=Severity.SUSPECT,
                message=f"{failed} of {seen} examples were classified rightly when the plain model "
                "saw them again: it answers in another way under attack than when it is asked.",
                evidence={"examples": seen, "unconfirmed": failed},
            )
        )
    return found
