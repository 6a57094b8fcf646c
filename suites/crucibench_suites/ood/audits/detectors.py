"""Audits of one detector: worse than chance, and ties."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench.stats import hoeffding_interval, linearised_interval
from crucibench_suites.ood import numbers
from crucibench_suites.ood.detector import Detector
from crucibench_suites.ood.detectors import OWN
from crucibench_suites.ood.intervals import Mean, independent_pairs
from crucibench_suites.ood.scores import Scores

_CHANCE = 0.5
_TIED, _HARDLY_ANY = 0.1, 0.5
"""Shares of samples that have the most frequent score: worth saying, and suspect."""

_LIKELY = {
    True: "scores of the model whose sign is turned, or to a model that is surest of what it does "
    "not know: the detector's own sign is tested",
    False: "a sign error in the detector, or to a model that is surest of what it does not know",
}

_FEWEST = 20
"""Among fewer samples ties say nothing."""


def audit_detector(evidence: Evidence, entry: Detector) -> Findings:
    """Says whether the detector ranks the wrong way round, and whether its scores tie."""
    scores = Scores(evidence.own, evidence.needs["test"].samples)
    if scores.unfit:
        message = f"{entry.title} has no numbers: {scores.unfit}"
        return [
            Finding(
                code="unfit-detector", severity=Severity.INFO, message=message,
                evidence={"detector": entry.name},
            )
        ]  # fmt: skip
    return [*_worse_than_chance(scores, entry, evidence.options.level), *_ties(scores, entry)]


def _worse_than_chance(scores: Scores, entry: Detector, level: float) -> Findings:
    worse: dict[str, float] = {}
    for address in scores.sets:
        mean = _area(scores, [address])
        if mean is not None and _surely_below(mean, level):
            worse[address] = mean.value()
    if not worse:
        return []
    shown = ", ".join(f"{address} {area:.3f}" for address, area in worse.items())
    evidence = {"detector": entry.name, "auroc": worse, "sets": len(scores.sets)}
    whole = _area(scores, list(scores.sets))
    if whole is not None and _surely_below(whole, level):
        area, own = whole.value(), entry.name in OWN
        message = (
            f"{entry.title} is surely worse than chance over all sets (mean AUROC {area:.3f}; "
            f"{shown}): with the sign of its score turned it would have {1 - area:.3f}, which "
            f"points to {_LIKELY[own]}"
        )
        severity = Severity.INFO if own else Severity.SUSPECT
        return [
            Finding(
                code="worse-than-chance", severity=severity, message=message,
                evidence=evidence,
            )
        ]  # fmt: skip
    message = (
        f"{entry.title} is surely worse than chance on {len(worse)} of {len(scores.sets)} sets "
        f"(AUROC: {shown}), though not over all: the model is surer of these than of what it knows"
    )
    return [
        Finding(
            code="worse-than-chance-on-a-set", severity=Severity.INFO, message=message,
            evidence=evidence,
        )
    ]  # fmt: skip


def _area(scores: Scores, addresses: list[str]) -> Mean | None:
    parts = [scores.part(address) for address in addresses]
    if not parts or not all(part.whole for part in parts):
        return None
    return Mean.of(numbers.AUROC.id, parts)


def _surely_below(mean: Mean, level: float) -> bool:
    area = mean.value()
    if not area < _CHANCE:
        return False
    interval = linearised_interval(area, mean.influence(), level=level)
    if interval is None:
        interval = hoeffding_interval(area, independent_pairs(mean.parts), level)
    return interval.upper < _CHANCE


def _ties(scores: Scores, entry: Detector) -> Findings:
    every = np.concatenate([scores.known, *scores.sets.values()])
    if len(every) < _FEWEST:
        return []
    values, counts = np.unique(every, return_counts=True)
    top = int(counts.argmax())
    share = counts[top] / len(every)
    # One value of an OOD set alone ranks nothing wrongly: ties matter between the two sides.
    at = values[top]
    sides = float(np.mean(scores.known == at)), float(np.mean(every[len(scores.known) :] == at))
    if share < _TIED or not min(sides):
        return []
    message = (
        f"{counts[top]} of {len(every)} scores of {entry.title} are {at:.6g} "
        f"({100 * sides[0]:.3g} % of the in-distribution and {100 * sides[1]:.3g} % of the "
        "out-of-distribution ones): what is rounded to one value can't be ranked"
    )
    return [
        Finding(
            code="tied-scores",
            severity=Severity.SUSPECT if share >= _HARDLY_ANY else Severity.INFO,
            message=message,
            evidence={"score": float(at), "share": float(share), "distinct": len(values)},
        )
    ]
