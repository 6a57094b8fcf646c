"""The suite's audit: whether attributions speak of the model at all."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import student_t

_LEVEL = 0.99


def attributions(evidence: Evidence, scenario: Scenario) -> Findings:
    """Says where attributions don't depend on weights, or tell no more than chance."""
    records = evidence.own.records
    same = ~(np.ptp(records.array("attribution"), axis=1) > 0)  # nan, too
    found: Findings = []
    if same.any():
        found.append(
            Finding(
                code="no-attribution", severity=Severity.SUSPECT,
                message=f"all parts of {int(same.sum())} of {len(same)} inputs get the same "
                "attribution, or none (grad-cam: of a model without a convolution)",
                evidence={"count": int(same.sum()), "n": len(same)},
            )
        )  # fmt: skip
    for column, code, severity, above, limit, says in (
        ("randomised", "weights-ignored", Severity.SUSPECT, True, 0.5,
         "the attributions stay much as they are when all weights are shuffled: they don't depend "
         "on the model's weights"),
        ("deletion", "no-better-than-random", Severity.SUSPECT, False, 0.0,
         "taking away what is attributed most lowers the score no faster than random order"),
        ("colour", "rests-on-colour", Severity.INFO, True, 0.5,
         "the answers rest on colour more than on what is seen in grey"),
    ):  # fmt: skip
        values = records.array(column).astype(np.float64)
        values = values[np.isfinite(values)]
        if len(values) < 2:
            continue
        lower, upper, _, _ = student_t(values, _LEVEL)
        if lower > limit if above else upper < limit:
            mean = float(values.mean())
            found.append(
                Finding(
                    code=code, severity=severity, evidence={"mean": mean, "n": len(values)},
                    message=f"{says} (mean {mean:.2g} over {len(values)} samples, {_LEVEL:.0%} "
                    f"interval {lower:.2g} to {upper:.2g})",
                )
            )  # fmt: skip
    return found


ATTRIBUTIONS = Audit(
    name="attributions",
    description="Do attributions depend on the model's weights, and tell more than chance?",
    function=attributions,
    known_answer="crucibench_suites.explain.known_answers:ATTRIBUTIONS",
)
