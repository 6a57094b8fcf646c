"""Audit of the sets: what a statistic of the input tells as well as the detector shows little."""

from __future__ import annotations

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.ood import numbers
from crucibench_suites.ood.intervals import Mean
from crucibench_suites.ood.scores import Scores
from crucibench_suites.ood.scoring import easiest

_TELLING = 0.8
"""A statistic whose AUROC is below this tells little, however badly the detector does."""

_AS_WELL = 0.01


def audit_easy(evidence: Evidence, detector: str) -> Findings:
    """Names the sets that a statistic of the input tells as well as the detector of that name."""
    scores = Scores(evidence.needs["detector"], evidence.needs["test"].samples)
    best = easiest(evidence.needs["sets"].records)
    easy = {}
    for address in scores.sets:
        part = scores.part(address)
        if address not in best or not part.whole:
            continue
        trivial, name = best[address]
        area = Mean.of(numbers.AUROC.id, [part]).value()
        if trivial >= max(_TELLING, area - _AS_WELL):
            easy[address] = (name, trivial, area)
    if not easy:
        return []
    shown = "; ".join(
        f"{address}: {name} {trivial:.3f}, {detector} {area:.3f}"
        for address, (name, trivial, area) in easy.items()
    )
    message = (
        f"{len(easy)} of {len(scores.sets)} sets are easy: a statistic of the input, without the "
        f"model, tells them as well as the detector does (AUROC of {shown})"
    )
    return [
        Finding(
            code="easy-set", severity=Severity.INFO, message=message,
            evidence={address: {"statistic": name, "trivial_auroc": trivial, "auroc": area}
                      for address, (name, trivial, area) in easy.items()},
        )
    ]  # fmt: skip
