"""Audits: how far a detector's numbers, and the sets themselves, can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.audit import Audit
from crucibench.contracts.detector import Detector
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench.util.ids import contents
from crucibench_suites.ood import metrics
from crucibench_suites.ood.detectors import detectors
from crucibench_suites.ood.scores import DetectorScores, Mean, scores_of
from crucibench_suites.ood.sets import OODSet

_CHANCE = 0.5
_TIED, _HARDLY_ANY = 0.1, 0.5
"""Shares of samples that have the most frequent score: worth saying, and suspect."""

PREFIX = "input_"
"""Columns of statistics of the inputs begin with it."""

_LIKELY = {
    True: "scores of the model whose sign is turned, or to a model that is surest of what it does "
    "not know: the detector's own sign is tested",
    False: "a sign error in the detector, or to a model that is surest of what it does not know",
}

_FEWEST = 20
"""Among fewer samples ties say nothing."""


def audit_detector(evidence: Evidence, entry: Detector) -> Findings:
    """Says whether the detector fails its self-test, ranks the wrong way round, or ties scores."""
    scores = scores_of(evidence.own, evidence.needs["test"].samples)
    if scores.unfit:
        message = f"{entry.title} has no numbers: {scores.unfit}"
        return [
            Finding(
                code="unfit-detector", severity=Severity.INFO, message=message,
                evidence={"detector": entry.name},
            )
        ]  # fmt: skip
    return [
        *_wrong_answer(entry),
        *_worse_than_chance(scores, entry, evidence.options.level),
        *_ties(scores, entry),
    ]


@cache  # neither a model nor data enter it
def _wrong_answer(entry: Detector) -> Findings:
    """Runs what the cell ran on the detector's known answer."""
    wrong = entry.self_test()
    if not wrong:
        return []
    message = f"{entry.title} misses its own known answer: {wrong}"
    return [
        Finding(
            code="detector-self-test", severity=Severity.SUSPECT, message=message,
            evidence={"detector": entry.name},
        )
    ]  # fmt: skip


def _worse_than_chance(scores: DetectorScores, entry: Detector, level: float) -> Findings:
    worse: dict[str, float] = {}
    for address in scores.sets:
        mean = scores.mean(metrics.AUROC.id, [address])
        if mean is not None and _surely_below(mean, level):
            worse[address] = mean.value
    if not worse:
        return []
    shown = ", ".join(f"{address} {area:.3f}" for address, area in worse.items())
    evidence = {"detector": entry.name, "auroc": worse, "sets": len(scores.sets)}
    whole = scores.mean(metrics.AUROC.id, scores.sets)
    if whole is not None and _surely_below(whole, level):
        area, tested = whole.value, not entry.self_test()
        message = (
            f"{entry.title} is surely worse than chance over all sets (mean AUROC {area:.3f}; "
            f"{shown}): with the sign of its score turned it would have {1 - area:.3f}, which "
            f"points to {_LIKELY[tested]}"
        )
        severity = Severity.INFO if tested else Severity.SUSPECT
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


def _surely_below(mean: Mean, level: float) -> bool:
    found = mean.interval(level) if mean.value < _CHANCE else None
    return found is not None and found.upper < _CHANCE


def _ties(scores: DetectorScores, entry: Detector) -> Findings:
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


_TELLING = 0.8
"""A statistic whose AUROC is below this tells little, however badly the detector does."""

_AS_WELL = 0.01


def audit_easy(evidence: Evidence, detector: str) -> Findings:
    """Names the sets that a statistic of the input tells as well as the detector of that name."""
    scores = scores_of(evidence.needs["detector"], evidence.needs["test"].samples)
    best = easiest(evidence.needs["sets"].records)
    easy = {}
    for address in scores.sets:
        mean = scores.mean(metrics.AUROC.id, [address])
        if address not in best or mean is None:
            continue
        trivial, name = best[address]
        area = mean.value
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


_LEAKED = 0.01
"""Share of test samples in train from which numbers are suspect."""

_FAMILIAR = 0.01
"""Share of an OOD set that is in the test or train role from which it is suspect."""


def audit_sets(evidence: Evidence, sets: Sequence[OODSet]) -> Findings:
    """Says which samples are familiar and unfamiliar at once, or were there to fit on."""
    roles = {"test": contents(evidence.needs["test"].samples.ids)}
    if "train" in evidence.needs:
        roles["train"] = contents(evidence.needs["train"].samples.ids)
    findings: Findings = []
    if "train" in roles:
        both = _among(roles["test"], roles["train"])
        if both:
            share = both / len(roles["test"])
            message = (
                f"{both} of {len(roles['test'])} test samples ({100 * share:.3g} %) are in the "
                "train role, too: detectors that are fitted on it know them"
            )
            findings.append(_finding("train-overlaps-test", share >= _LEAKED, message, {"n": both}))
    ids = {
        one.address: contents(evidence.needs[one.address].samples.ids)
        for one in sets
        if not one.generated
    }
    for address, names in ids.items():
        findings += _overlaps(address, names, roles)
    return [*findings, *_between(ids)]


def unchanged_sets(evidence: Evidence, sets: Sequence[OODSet]) -> Findings:
    """Says which generated sets are the samples that they were made of, by all that is recorded."""
    test, inputs = evidence.needs["test"].records, evidence.needs["inputs"].records
    found: Findings = []
    for one in sets:
        made = evidence.needs[one.address].records
        if not one.generated or not len(made) or "scores" not in test or "scores" not in made:
            continue
        # The samples of a validation set are kept apart from those that inputs are recorded of.
        looks = [] if one.kind == "validation" else inputs.table.column_names
        pairs = [(test, "scores"), *((inputs, name) for name in looks if name.startswith(PREFIX))]
        if all(
            np.array_equal(of.aligned(made.ids).array(name), made.array(name), equal_nan=True)
            for of, name in pairs
        ):
            message = (
                f"{one.address} changes nothing: its {len(made)} samples get the scores of those "
                "that they were made of, and look like them; name other generators"
            )
            found.append(_finding("unchanged-set", True, message, {"set": one.address}))
    return found


def _overlaps(
    address: str, names: NDArray[np.object_], roles: Mapping[str, NDArray[np.object_]]
) -> Findings:
    found: Findings = []
    for role, others in roles.items():
        both = _among(names, others)
        if both:
            share = both / len(names)
            message = (
                f"{both} of {len(names)} samples of {address} ({100 * share:.3g} %) are in the "
                f"{role} role: they are not out-of-distribution"
            )
            evidence = {"set": address, "role": role, "n": both}
            found.append(_finding("ood-overlaps-id", share >= _FAMILIAR, message, evidence))
    return found


def _between(ids: Mapping[str, NDArray[np.object_]]) -> Findings:
    """Says which validation samples are scored after all."""
    found: Findings = []
    for chosen_by, names in ids.items():
        for address, others in ids.items():
            if not chosen_by.startswith("validation/") or address.startswith("validation/"):
                continue
            if both := _among(others, names):
                message = (
                    f"{both} of {len(others)} samples of {address} are in {chosen_by}, too: "
                    "settings were chosen by what is scored"
                )
                evidence = {"set": address, "validation": chosen_by, "n": both}
                suspect = both / len(others) >= _FAMILIAR
                found.append(_finding("validation-overlaps-scored", suspect, message, evidence))
    return found


def _among(names: NDArray[np.object_], others: NDArray[np.object_]) -> int:
    return int(np.asarray(pd.Index(names, dtype=object).isin(pd.Index(others, dtype=object))).sum())


def _finding(code: str, suspect: bool, message: str, evidence: Mapping[str, object]) -> Finding:
    severity = Severity.SUSPECT if suspect else Severity.INFO
    return Finding(code=code, severity=severity, message=message, evidence=evidence)


def easiest(records: Records) -> dict[str, tuple[float, str]]:
    """Returns AUROC and name of the statistic that tells each set best.

    Args:
        records: of the scenario ``sets``.
    """
    best: dict[str, tuple[float, str]] = {}
    for point, name, area in zip(
        records.array("point"), records.array("statistic"), records.array("auroc"), strict=True
    ):
        best[point] = max(best.get(point, (0.0, "")), (float(area), str(name)))
    return best


_KNOWN = "crucibench_suites.ood.known_answers:"


SCORES = Audit(
    name="detector-scores",
    description="Does a detector pass its self-test, rank the right way round, and rank at all?",
    function=lambda evidence, scenario: audit_detector(evidence, detectors().get(scenario.name)),
    known_answer=_KNOWN + "SCORES",
)

EASY = Audit(
    name="easy-sets",
    description="Does a statistic of the input, without the model, tell a set as well?",
    function=lambda evidence, scenario: audit_easy(evidence, scenario.detector),
    known_answer=_KNOWN + "EASY",
)

UNCHANGED = Audit(
    name="unchanged-sets",
    description="Does a generator leave every sample as it was?",
    function=lambda evidence, scenario: unchanged_sets(evidence, scenario.sets),
    known_answer=_KNOWN + "UNCHANGED",
)

OVERLAPPING = Audit(
    name="overlapping-sets",
    description="Are samples familiar and unfamiliar at once, or scored and fitted on?",
    function=lambda evidence, scenario: audit_sets(evidence, scenario.sets),
    known_answer=_KNOWN + "OVERLAPPING",
)
