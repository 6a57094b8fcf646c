"""The suite's audits: what each looks for."""

from __future__ import annotations

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.task import Modality
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.forms import evaluate
from crucibench.stats import auc_interval, clopper_pearson
from crucibench_suites.leak import metrics
from crucibench_suites.leak.scenarios import doubts, membership, repeated

_LIMITS = {"train": 0.01, "test": 0.05}
"""Shares of test samples from which numbers are suspect."""

_DOUBTFUL = 0.01
"""Share of doubtful labels that a finding must be shown to exceed. Of 1,797 digits that nobody
altered a forest doubts none, a logistic regression 6 (0.3 %)."""

_INFERRED = 0.55
"""AUROC of membership that a finding must be shown to exceed: most models fit train a little
better."""

_LEVEL = 0.99


def near_duplicates(evidence: Evidence, scenario: Scenario) -> Findings:
    """Says how many test samples repeat others, and where."""
    findings: Findings = []
    where = {"train": "a train sample", "test": "a test sample before them"}
    table = evidence.task.modality is Modality.TABLE
    for role, flags in repeated(evidence).items():
        count, n = int(flags.sum()), len(flags)
        if count:
            suspect = count >= _LIMITS[role] * n and not table
            findings.append(
                Finding(
                    code=f"near-duplicates-{role}",
                    severity=Severity.SUSPECT if suspect else Severity.INFO,
                    message=f"{count} of {n} test samples ({100 * count / n:.2g} %) are "
                    f"near-duplicates of {where[role]}"
                    f"{' (in a table, alike rows may be different cases)' if table else ''}",
                    evidence={"count": count, "n": n},
                )
            )
    return findings


def doubtful_labels(evidence: Evidence, scenario: Scenario) -> Findings:
    """Says when more labels are doubtful than a good judge doubts of labels that are right."""
    _, found = doubts(evidence)
    count, n = int(found.flags.sum()), len(found.flags)
    if not n or clopper_pearson(count, n, _LEVEL).lower <= _DOUBTFUL:
        return []
    message = (
        f"{count} of {n} test labels ({100 * count / n:.2g} %) are doubtful: wrong, or of classes "
        "that overlap"
    )
    return [Finding(code="doubtful-labels", severity=Severity.INFO, message=message,
                    evidence={"count": count, "n": n})]  # fmt: skip


def membership_inferred(evidence: Evidence, scenario: Scenario) -> Findings:
    """Says when membership is shown to be inferred from the loss."""
    view, _ = membership(evidence)
    if metrics.AUROC.applies(view):
        return []
    lower, _, _, _ = auc_interval(view.scores, view.members, _LEVEL)
    if lower <= _INFERRED:
        return []
    value = evaluate(metrics.AUROC.form(view), len(view))
    message = (
        f"of a train and a test sample the train one has the lower loss in {100 * value:.3g} %: "
        "the model holds on to what it was trained on"
    )
    return [
        Finding(
            code="membership-inferred",
            severity=Severity.INFO,
            message=message,
            evidence={"auroc": value, "lower": lower},
        )
    ]


_KNOWN = "crucibench_suites.leak.known_answers:"

NEAR = Audit(
    name="near-duplicates",
    description="Do test samples nearly repeat one another, or samples of the train role?",
    function=near_duplicates,
    known_answer=_KNOWN + "NEAR",
)
LABELS = Audit(
    name="doubtful-labels",
    description="Are more test labels doubtful than of right labels would be?",
    function=doubtful_labels,
    known_answer=_KNOWN + "LABELS",
)
MEMBERSHIP = Audit(
    name="membership",
    description="Can membership in the train role be inferred from the loss?",
    function=membership_inferred,
    known_answer=_KNOWN + "MEMBERSHIP",
)
