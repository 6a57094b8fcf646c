"""Audits of shifted samples: pure functions of the evidence.

Did a corruption do something, no more than it states, more as it gets severer, and leave a sample
that can be read? Is a model better on what is corrupted? Are shifted samples new?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.audit import Audit
from crucibench.contracts.corruption import Corruption, corruptions
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.task import Modality
from crucibench.contracts.verdict import Finding, Severity, no_samples
from crucibench.stats import mcnemar_exact
from crucibench.util.ids import contents
from crucibench_suites.shift.answers import clean_answers, shifted_answers
from crucibench_suites.shift.names import HERE, HOME, OWN, TRAIN, severity_of

_FLOOR = 0.25 / 255
"""Mean absolute distance below which an image looks as it was: a quarter of an 8-bit level."""

_UNCHANGED = 0.5
_SLACK = 1.05
_NOISE = 4.0
"""Standard errors that a mean distance may fall from one severity to the next."""

_ERRORS = 5.0
"""Standard errors that a mean may lie above a level that holds on average."""

_ALPHA = 1e-3
_GAIN = 0.02

_SHARED = 0.01
"""Share of shifted samples in the other set from which numbers are suspect."""

_SETS = {HOME: ("test", "the home test set"), TRAIN: ("train", "the training set")}


def audit_records(evidence: Evidence) -> Findings:
    """Returns what speaks against any shifted cell's numbers."""
    if not len(evidence.own.samples):
        return [no_samples()]
    return _non_finite(evidence.own.records)


def audit_image(evidence: Evidence, corruption: Corruption, parameter_set: str) -> Findings:
    """Returns what speaks against the numbers of a corruption of images."""
    findings = audit_records(evidence)
    if findings:
        return findings
    records = evidence.own.records
    return [
        *_did_nothing(records),
        *_larger_than_stated(records, corruption, parameter_set),
        *_not_monotone(records, corruption),
        *_better_when_shifted(evidence),
    ]


def audit_corrupted(evidence: Evidence, corruption: Corruption) -> Findings:
    """Returns what speaks against the numbers of a corruption of texts or tables."""
    if not len(evidence.own.samples):
        return [no_samples()]
    records = evidence.own.records
    findings = [
        *_left_alone(records, corruption),
        *_beyond_level(records, corruption),
        *_spoilt(records),
    ]
    return findings + _better_when_shifted(evidence)


def audit_summary(evidence: Evidence, corruptions: Sequence[str]) -> Findings:
    """Returns what speaks against the numbers over all corruptions."""
    missing = [name for name in corruptions if OWN + name not in evidence.needs]
    # Where all are missing there is no mean that one could misread.
    if not missing or len(missing) == len(corruptions):
        return []
    message = (
        f"every mean leaves out {len(missing)} of {len(corruptions)} corruptions: "
        f"{', '.join(missing)}"
    )
    return [_finding("corruptions-missing", Severity.SUSPECT, message, {"missing": missing})]


def audit_place(evidence: Evidence) -> Findings:
    """Says which shifted samples are exact duplicates, by content, of others."""
    here = evidence.needs[HERE]
    if not len(here.samples):
        return [no_samples("samples")]
    names = contents(here.samples.ids)
    findings: Findings = []
    for alias, (short, long) in _SETS.items():
        other = evidence.needs.get(alias)
        if other is None:
            continue
        shared = np.asarray(pd.Index(names).isin(pd.Index(contents(other.samples.ids))))
        count, n = int(shared.sum()), len(shared)
        if not count:
            continue
        table = evidence.task.modality is Modality.TABLE
        hint = " (in a table, equal rows may be different cases)" if table else ""
        findings.append(
            Finding(
                code=f"duplicates-between-{short}-and-shifted",
                severity=Severity.SUSPECT if count >= _SHARED * n else Severity.INFO,
                message=f"{count} of {n} samples ({100 * count / n:.2g} %) are in {long}, too"
                f"{hint}: the data is less new, or less shifted, than it seems",
                evidence={"n": n, "count": count, "share": count / n},
            )
        )
    return findings


def _did_nothing(records: Records) -> Findings:
    """Flags severities at which most images stayed as they were.

    Where the highest severity does something, the lower ones may be too fine for small images,
    which is then only noted.
    """
    shares = {
        point: float((records.at(point).array("distance") < _FLOOR).mean())
        for point in records.points
    }
    bad = {point: share for point, share in shares.items() if share > _UNCHANGED}
    if not bad:
        return []
    worst = max(bad, key=lambda point: bad[point])
    severity = Severity.SUSPECT if max(shares, key=severity_of) in bad else Severity.INFO
    message = (
        f"{100 * bad[worst]:.3g} % of the images are as before at {worst} (less than a quarter of "
        "an 8-bit level apart): accuracy there is clean accuracy"
    )
    return [_finding("corruption-did-nothing", severity, message, {"unchanged": bad})]


def _larger_than_stated(records: Records, corruption: Corruption, parameter_set: str) -> Findings:
    """Flags severities whose mean distance exceeds what their parameters allow."""
    found = {}
    for point in records.points:
        stated = corruption.most(corruption.level(severity_of(point), parameter_set))
        distance = float(records.at(point).array("distance").mean(dtype=np.float64))
        if distance > _SLACK * stated:
            found[point] = {"distance": distance, "at_most": stated}
    if not found:
        return []
    point, numbers = next(iter(found.items()))
    message = (
        f"images lie {numbers['distance']:.3g} from the clean ones on average at {point}, where "
        f"{corruption.name} can move them by {numbers['at_most']:.3g} at most"
    )
    return [_finding("larger-than-stated", Severity.INVALID, message, found)]


def _not_monotone(records: Records, corruption: Corruption) -> Findings:
    """Flags a severity that lies closer to the clean images than the one before it.

    Some published levels are not in order of distance; for those it is only noted.
    """
    points = sorted(records.points, key=severity_of)
    falls = []
    for before, after in pairwise(points):
        first, second = (
            records.at(point).array("distance").astype(np.float64) for point in (before, after)
        )
        gap = second - first
        error = float(gap.std(ddof=1) / np.sqrt(len(gap))) if len(gap) > 1 else 0.0
        if gap.mean() < -max(_NOISE * error, _FLOOR):
            falls.append({"from": before, "to": after, "by": float(-gap.mean())})
    if not falls:
        return []
    first_fall = falls[0]
    message = (
        f"images lie {first_fall['by']:.3g} closer to the clean ones at {first_fall['to']} than at "
        f"{first_fall['from']}"
    )
    if not corruption.ordered:
        message += f", as the published levels of {corruption.name} may have it"
    severity = Severity.SUSPECT if corruption.ordered else Severity.INFO
    return [_finding("severity-not-monotone", severity, message, {"falls": falls})]


def _left_alone(records: Records, corruption: Corruption) -> Findings:
    """Flags a highest severity that touched less than half of the samples that it should have.

    At lower ones it is only noted, and only where none changed. What should have been touched is
    what the level intends: with a fifth of the values of three columns half of the rows stay as
    they are by design, and a text without a word can't lose one. It counts where fewer than half
    come about by chance with a probability below 0.001 (Chernoff's bound for independent samples).
    """
    points = sorted(records.points, key=severity_of)
    found = {}
    for point in points:
        at = records.at(point)
        if "chance" in at:
            meant = float(at.array("chance").sum(dtype=np.float64))
        else:
            meant = float((at.array("units") > 0).sum())
        touched = int(at.array("touched").astype(np.bool_).sum())
        short = 1 - touched / meant if meant else 0.0
        most = 0.5 if point == points[-1] else 1.0
        if short >= most and np.exp(-(short**2) * meant / 2) < _ALPHA:
            found[point] = {"touched": touched / len(at), "intended": meant / len(at)}
    if not found:
        return []
    worst = list(found)[-1]
    severity = Severity.SUSPECT if worst == points[-1] else Severity.INFO
    message = (
        f"{100 * found[worst]['touched']:.3g} % of the samples are changed at {worst}, where its "
        f"level intends {100 * found[worst]['intended']:.3g} %: its numbers are too near to those "
        f"of clean samples (it can be done to: {corruption.scope})"
    )
    return [_finding("perturbation-did-nothing", severity, message, found)]


def _beyond_level(records: Records, corruption: Corruption) -> Findings:
    """Flags severities that touched more than their level allows.

    A level bounds either each sample (the share of its units, rounded up) or the mean over samples,
    with `_ERRORS` standard errors on top.
    """
    found = {}
    for point in records.points:
        at = records.at(point)
        level = corruption.level(severity_of(point))[0]
        if corruption.per_sample:
            over = _over(at, level)
        else:
            distance = at.array("distance").astype(np.float64)
            slack = _ERRORS * distance.std() / np.sqrt(len(distance))
            over = int(len(distance) if distance.mean() > level + slack + 1e-6 else 0)
        if over:
            found[point] = over
    if not found:
        return []
    point, count = next(iter(found.items()))
    message = (
        f"{count} of {len(records.at(point))} samples are changed by more than the "
        f"{corruption.level(severity_of(point))[0]:g} ({corruption.unit}) of {point}"
    )
    return [_finding("larger-than-stated", Severity.INVALID, message, {"samples": found})]


def _over(records: Records, level: float) -> int:
    edits, units = (records.array(name).astype(np.float64) for name in ("edits", "units"))
    over: NDArray[np.bool_] = edits > np.ceil(level * units - 1e-9)
    return int(over.sum())


def _spoilt(records: Records) -> Findings:
    """Flags samples that are no longer what they have to be."""
    spoilt = records.array("spoilt").astype(np.bool_)
    if not spoilt.any():
        return []
    points = sorted(set(records.array("point")[spoilt].tolist()))
    message = (
        f"{int(spoilt.sum())} of {len(spoilt)} perturbed samples are spoilt, at "
        f"{', '.join(points)}: a text has lost more than half of its letters, or a table's value "
        "its type or its bounds"
    )
    evidence = {"samples": int(spoilt.sum()), "of": len(spoilt), "points": points}
    return [_finding("perturbation-spoils", Severity.INVALID, message, evidence)]


def _better_when_shifted(evidence: Evidence) -> Findings:
    """Flags a severity at which surely more samples are right than clean.

    A gain counts from 2 points of accuracy, with an exact McNemar p-value below 0.001 after
    Bonferroni's correction. Then the clean input is likely not what the model was made for.
    """
    cell = evidence.own
    if not evidence.task.one_class:
        return []
    clean = clean_answers(evidence.needs["clean"], cell.samples.ids, evidence.task).correct
    found = shifted_answers(cell, evidence.task)
    gains = {}
    for point, answers in found.items():
        won = int((answers.correct & ~clean).sum())
        lost = int((~answers.correct & clean).sum())
        gain = (won - lost) / len(clean)
        if gain >= _GAIN and mcnemar_exact(won, lost) * len(found) < _ALPHA:
            gains[point] = gain
    if not gains:
        return []
    best = max(gains, key=lambda point: gains[point])
    message = (
        f"accuracy is {100 * gains[best]:.3g} points higher at {best} than on the clean samples: "
        "check the range, the normalisation and the size that the model was made for"
    )
    return [_finding("better-when-shifted", Severity.SUSPECT, message, {"gains": gains})]


def _non_finite(records: Records) -> Findings:
    """Flags images whose distance from the clean one is not a number: neither are their pixels."""
    bad = ~np.isfinite(records.array("distance"))
    if not bad.any():
        return []
    points = sorted(set(records.array("point")[bad].tolist()))
    message = (
        f"{int(bad.sum())} of {len(bad)} shifted images hold values that are not finite, at "
        f"{', '.join(points)}"
    )
    evidence = {"images": int(bad.sum()), "of": len(bad), "points": points}
    return [_finding("non-finite-images", Severity.INVALID, message, evidence)]


def _finding(
    code: str, severity: Severity, message: str, evidence: Mapping[str, object]
) -> Finding:
    return Finding(code=code, severity=severity, message=message, evidence=evidence)


_KNOWN = "crucibench_suites.shift.known_answers:"

IMAGES = Audit(
    name="corrupted-images",
    description="Does a corruption do something, no more than it states, and more if severer?",
    function=lambda evidence, scenario: audit_image(
        evidence, corruptions().get(scenario.name), scenario.parameters["parameter_set"]
    ),
    known_answer=_KNOWN + "IMAGES",
)

SAMPLES = Audit(
    name="corrupted-samples",
    description="Does a corruption of texts or tables do something, within its level?",
    function=lambda evidence, scenario: audit_corrupted(evidence, corruptions().get(scenario.name)),
    known_answer=_KNOWN + "SAMPLES",
)

FINITE = Audit(
    name="finite-images",
    description="Are there shifted images, and are all of their pixels numbers?",
    function=lambda evidence, scenario: audit_records(evidence),
    known_answer=_KNOWN + "FINITE",
)

MISSING = Audit(
    name="corruptions-missing",
    description="Does a mean over corruptions leave some out?",
    function=lambda evidence, scenario: audit_summary(
        evidence, list(scenario.parameters["corruptions"])
    ),
    known_answer=_KNOWN + "MISSING",
)

DUPLICATES = Audit(
    name="shifted-duplicates",
    description="Are shifted samples exact duplicates of those at home, or of train?",
    function=lambda evidence, scenario: audit_place(evidence),
    known_answer=_KNOWN + "DUPLICATES",
)

DRIFT = Audit(
    name="drift-samples",
    description="Are there enough samples on both sides to find drift?",
    function="crucibench_suites.shift.drift_scoring:audit_drift",
    known_answer=_KNOWN + "DRIFT",
)

GROUPS = Audit(
    name="subpopulations",
    description="May the worst group be worst by chance, and are groups too small?",
    function="crucibench_suites.shift.group_scoring:audit_groups",
    known_answer=_KNOWN + "GROUPS",
)

POPULATION = Audit(
    name="effective-samples",
    description="Do weights leave few effective samples?",
    function="crucibench_suites.shift.population_scoring:audit_population",
    known_answer=_KNOWN + "POPULATION",
)
