"""What the attacks' own records say against the series."""

from __future__ import annotations

from crucibench.contracts.evidence import Findings
from crucibench_suites.adversarial.audits.probed import beyond, finding
from crucibench_suites.adversarial.outcomes import Outcomes, Series

BLACK_BOX_SHARE = 0.002
"""AutoAttack warns where Square gains more than 0.2 points; two samples are the least."""

UNCONFIRMED_SHARE = 0.05


def audit_series(series: Series, outcomes: Outcomes) -> Findings:
    """Looks at what Square gained, and at examples that did not hold."""
    found: Findings = []
    if "square" in outcomes.after:
        earlier = outcomes.after[series.stages[series.stages.index("square") - 1]]
        gained = int((outcomes.after["square"] < earlier).sum())
        if gained >= max(2, BLACK_BOX_SHARE * len(outcomes.right)):
            found.append(
                finding(
                    "black-box-beats-gradients",
                    f"Square, which sees no gradients, broke {gained} samples that the "
                    "gradient attacks missed: gradients may be masked, and the true robust "
                    "accuracy lower",
                    {"broken": gained, "samples": len(outcomes.right)},
                )
            )
    seen, failed = outcomes.examples
    if beyond(failed, seen, UNCONFIRMED_SHARE):
        found.append(
            finding(
                "unconfirmed-examples",
                f"{failed} of {seen} examples were classified rightly when the plain model "
                "saw them again: it answers in another way under attack than when it is asked",
                {"examples": seen, "unconfirmed": failed},
            )
        )
    return found
