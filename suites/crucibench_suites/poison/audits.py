"""The suite's audit: whether a trigger was put in, and whether it works."""

from __future__ import annotations

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import clopper_pearson
from crucibench_suites.poison.scenarios import WithTrigger, triggered

_LEVEL = 0.99
_HALF = 0.5


def trigger(evidence: Evidence, scenario: WithTrigger) -> Findings:
    """Says whether the trigger changed nothing, or steers the model."""
    change = evidence.own.records.array("change")
    if len(change) and not change.any():
        message = "the trigger changes no pixel of any image: its success says nothing"
        return [Finding(code="trigger-invisible", severity=Severity.INVALID, message=message)]
    view = triggered(evidence, scenario.trigger)
    # Of images that are taken for another class without it: what a trigger moves, not who errs.
    among = view.others & ~view.clean
    count, n = int((view.hits & among).sum()), int(among.sum())
    if not n or clopper_pearson(count, n, _LEVEL).lower <= _HALF:
        return []
    message = (
        f"the trigger steers {count} of {n} images of other classes to {scenario.trigger.target!r}"
    )
    return [
        Finding(
            code="trigger-works",
            severity=Severity.INFO,
            message=message,
            evidence={"count": count, "n": n},
        )
    ]


TRIGGER = Audit(
    name="trigger",
    description="Does a trigger change images, and steer the model to its class?",
    function=trigger,
    known_answer="crucibench_suites.poison.known_answers:TRIGGER",
)
