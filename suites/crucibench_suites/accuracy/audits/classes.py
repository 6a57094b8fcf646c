"""Classes without samples, a threshold that was not applied, and probabilities of exactly 0."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.probabilistic import SMALLEST, log_losses
from crucibench.tasks.classification.view import ClassView

_SHOWN = 5
_DEFAULT = 0.5


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


def zero_probabilities(answers: ClassView) -> Findings:
    """Reports samples whose target is given a probability of 0: log loss is infinite there.

    Trees and nearest neighbours do this honestly, so the finding lowers no verdict.
    """
    if answers.probabilities is None:
        return []
    own = np.take_along_axis(answers.probabilities, answers.targets[:, None], axis=1)[:, 0]
    clipped = own < SMALLEST
    count, n = int(clipped.sum()), len(answers)
    if not count:
        return []
    losses = log_losses(answers.probabilities, answers.targets)
    share = float(losses[clipped].sum() / losses.sum())
    message = (
        f"{count} of {n} samples give their target a probability below {SMALLEST:.1e}: log loss "
        f"is infinite there, is cut at {-np.log(SMALLEST):.1f} a sample, and owes "
        f"{100 * share:.2g} % of its value to them"
    )
    evidence = {"n": n, "count": count, "share_of_log_loss": share}
    return [
        Finding(code="zero-probability", severity=Severity.INFO, message=message, evidence=evidence)
    ]
