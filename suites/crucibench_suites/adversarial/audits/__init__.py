"""Whether a number of robustness can be believed: what records and probes say against it."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench_suites.adversarial.audits.probed import (
    Probed,
    audit_answers,
    audit_differences,
    audit_gradients,
    audit_steps,
    audit_stronger,
    is_random,
)
from crucibench_suites.adversarial.audits.series import audit_self_tests, audit_series
from crucibench_suites.adversarial.scoring import Series, read_outcomes


def audit_attacks(series: Series, evidence: Evidence) -> Findings:
    """Returns findings from records and probe records."""
    found = audit_self_tests(evidence)
    if not len(evidence.own.samples):
        return found
    outcomes = read_outcomes(series, evidence)
    found += audit_series(series, outcomes)
    probed = Probed.of(evidence)
    if probed is None:
        return found
    random = is_random(probed, evidence.own.model.variant)
    found += [
        *audit_answers(probed, random=random, eot=series.threat.eot),
        *audit_gradients(probed),
        *audit_stronger(probed),
    ]
    if not random:  # what a random model does can't be told from what its gradients say
        found += [*audit_differences(probed), *audit_steps(probed, series.threat)]
    return found
