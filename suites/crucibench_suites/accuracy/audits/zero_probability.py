"""How much of the log loss comes from probabilities that are exactly 0?"""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.metrics.probabilistic import SMALLEST, log_losses
from crucibench.tasks.classification.view import ClassView


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
