"""Audits of a pass: does the model answer like a function of its input?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.audit import Audit
from crucibench.contracts.evidence import CellEvidence, Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.verdict import Finding, Severity


def repeats(evidence: Evidence, scenario: Scenario) -> Findings:
    own = evidence.own
    probe = own.probes.get("repeat")
    if probe is None or not len(probe):
        return []
    noise = own.model.noise
    findings: Findings = []
    again = probe.at("again")
    beyond = _beyond(again, noise)
    if beyond.any():
        apart, flips = float(again.array("apart").max()), int(again.array("flip").sum())
        findings.append(
            Finding(
                code="non-deterministic-output",
                # Asked several times, numbers are means over what it answers.
                severity=Severity.SUSPECT if own.model.repeat == 1 else Severity.INFO,
                message=(
                    f"the same batch asked twice gives other answers for {int(beyond.sum())} of "
                    f"{len(again)} samples (up to {apart:.2g} apart, {flips} labels flip)"
                ),
                evidence={"samples": len(again), "apart": apart, "flips": flips},
            )
        )
        return findings  # composition can't be told from randomness
    parts = [probe.at(point) for point in ("batch=1", "batch=7")]
    apart = max(float(part.array("apart").max()) for part in parts)
    flips = sum(int(part.array("flip").sum()) for part in parts)
    asked = sum(len(part) for part in parts)
    figures = {"samples": asked, "apart": apart, "flips": flips}
    if any(_beyond(part, noise).any() for part in parts):
        findings.append(
            Finding(
                code="batch-composition",
                severity=Severity.INVALID if flips else Severity.SUSPECT,
                message=(
                    "the answer to a sample depends on its batch: in batches of 1 and 7 scores "
                    f"lie up to {apart:.2g} apart and {flips} of {asked} labels flip"
                ),
                evidence=figures,
            )
        )
    else:
        findings.append(
            Finding(
                code="batch-noise",
                severity=Severity.INFO,
                message=(
                    f"batches of 1, 7 and up to {len(again)} give the same answers to float noise: "
                    f"scores at most {apart:.2g} apart, {flips} of {asked} labels flip"
                ),
                evidence=figures,
            )
        )
    return findings


def _beyond(probe: Records, noise: float) -> NDArray[np.bool_]:
    scale = np.maximum(1.0, probe.array("scale"))
    beyond: NDArray[np.bool_] = probe.array("apart") > noise * scale
    return beyond


_TOGETHER = 1e-3


def askings(evidence: Evidence, scenario: Scenario) -> Findings:
    """Says where repeats show nothing, or more than intervals over samples cover."""
    own, kind = evidence.own, evidence.task.definition
    count = len(own.askings)
    if count < 2:
        return []
    if not own.unsteady.any():
        message = f"all {count} askings agree: repeat shows nothing of this model, and costs passes"
        return [Finding(code="askings-agree", severity=Severity.INFO, message=message)]
    views = [kind.view(own.asking(number), evidence.task) for number in range(count)]
    table = np.stack([kind.quality(view) for view in views])
    if not own.samples.labelled or table.shape[1] < 2 or not np.isfinite(table).all():
        return []
    from crucibench.stats.two_way import rows_alike, two_way

    p = rows_alike(two_way(table))
    if p >= _TOGETHER:
        return []
    low, *_, high = sorted(table.mean(axis=1).tolist())
    message = (
        f"{count} askings differ by more than answers that are drawn sample by sample (from "
        f"{low:.4g} to {high:.4g}, p = {p:.1g}): each moves many answers at once, which intervals "
        "over samples leave out"
    )
    figures = {"askings": count, "lowest": low, "highest": high, "p": p}
    return [
        Finding(
            code="askings-move-together", severity=Severity.SUSPECT, message=message,
            evidence=figures,
        )
    ]  # fmt: skip


def scores_as_declared(evidence: Evidence, scenario: Scenario) -> Findings:
    own = evidence.own
    if not evidence.task.one_class:
        return []
    if "scores" not in own.records or not len(own.records):
        return []
    scores = own.records.array("scores").astype(np.float64)
    sums = scores.sum(axis=1)
    simplex = (scores >= -1e-6).all(axis=1) & (np.abs(sums - 1.0) < 1e-3)
    share = float(simplex.mean())
    if own.model.score_kind == "probabilities":
        if share < 1.0:
            return [_not_probabilities(scores, share)]
        return _squashed(own, scores)
    # Logits rarely fall on the simplex by chance; a constant 1/K would, and says nothing.
    if share > 0.99 and scores.shape[1] > 1 and float(scores.std()) > 1e-6:
        return [
            Finding(
                code="probabilities-declared-as-logits",
                severity=Severity.INVALID,
                message=(
                    "the model declares logits but its scores are probabilities: a softmax would "
                    "be applied twice; declare output=probabilities or return logits"
                ),
                evidence={"share_on_simplex": share},
            )
        ]
    return []


def _not_probabilities(scores: NDArray[np.float64], share: float) -> Finding:
    with np.errstate(over="ignore"):
        log_sums = np.exp(np.minimum(scores, 700.0)).sum(axis=1)
    if (scores <= 1e-6).all() and float((np.abs(log_sums - 1.0) < 1e-3).mean()) > 0.99:
        guess = "they are log-probabilities"
    elif (scores >= -1e-6).all() and (scores <= 1.0 + 1e-6).all():
        guess = "each lies in [0, 1] but rows do not sum to 1: independent sigmoids?"
    else:
        guess = "they look like logits"
    return Finding(
        code="not-probabilities",
        severity=Severity.INVALID,
        message=(
            f"the model declares probabilities but {100 * (1 - share):.1f} % of the rows are "
            f"none: {guess}"
        ),
        evidence={"share_on_simplex": share, "guess": guess},
    )


def _squashed(own: CellEvidence, scores: NDArray[np.float64]) -> Findings:
    # Undo a second softmax: log q = p - log Z with p on the simplex. An honest model that is as
    # unsure leaves the simplex, or is no better explained by the confidence that comes out.
    classes = scores.shape[1]
    if len(scores) < 50 or classes < 2 or scores.min() <= 0.0:
        return []
    logs = np.log(scores)
    undone = logs - logs.mean(axis=1, keepdims=True) + 1.0 / classes
    if undone.min() < -1e-5:
        return []
    accuracy = float((scores.argmax(axis=1) == own.samples.targets).mean())
    confidence, before = float(scores.max(axis=1).mean()), float(undone.max(axis=1).mean())
    if accuracy - confidence < 0.1 or abs(accuracy - before) > 0.5 * (accuracy - confidence):
        return []
    return [
        Finding(
            code="double-softmax",
            severity=Severity.INVALID,
            message=(
                f"accuracy is {accuracy:.3f} at a mean confidence of {confidence:.3f}, and every "
                f"row is the softmax of probabilities of mean confidence {before:.3f}: a softmax "
                "was applied twice"
            ),
            evidence={"accuracy": accuracy, "confidence": confidence, "undone": before},
        )
    ]


def input_range(evidence: Evidence, scenario: Scenario) -> Findings:
    own = evidence.own
    probe = own.probes.get("range")
    if probe is None or not len(probe):
        return []
    low, high = float(probe.array("lowest").min()), float(probe.array("highest").max())
    if low < -1e-6 or high > 1.0 + 1e-6:
        severity, text = Severity.INVALID, "leave the canonical range [0, 1]"
    elif high < 4.0 / 255.0:
        severity, text = Severity.SUSPECT, "use a 64th of [0, 1]: were they divided by 255 twice?"
    else:
        return []
    return [
        Finding(
            code="input-range",
            severity=severity,
            message=f"pixels lie in [{low:.4g}, {high:.4g}] and {text}",
            evidence={"lowest": low, "highest": high},
        )
    ]


_KNOWN = "crucibench.passes.known_answers:"

REPEATS = Audit(
    name="repeated-answers",
    description="Does the same sample get the same answer, asked again and in other batches?",
    function=repeats,
    known_answer=_KNOWN + "REPEATS",
)

ASKINGS = Audit(
    name="askings",
    description="Do askings of the same samples differ at all, and no more than sample by sample?",
    function=askings,
    known_answer=_KNOWN + "ASKINGS",
)

SCORES = Audit(
    name="scores-as-declared",
    description="Are scores the logits or the probabilities that the model declares?",
    function=scores_as_declared,
    known_answer=_KNOWN + "SCORES",
)

RANGE = Audit(
    name="input-range",
    description="Do pixels lie in the canonical range, and use it?",
    function=input_range,
    known_answer=_KNOWN + "RANGE",
)
