"""Audits of probe records: answers, gradients, and what something simpler or larger broke."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from crucibench.contracts.audit import Audit, Find
from crucibench.contracts.evidence import Evidence, Findings
from crucibench.contracts.records import Records
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.audits.second import weighed
from crucibench_suites.adversarial.probing.choosing import (
    NEAR_DRAWS,
    NOISE_DRAWS,
    PROBE,
    UNBOUNDED_STEPS,
)
from crucibench_suites.adversarial.threat import ThreatModel


@dataclass(frozen=True)
class Probed:
    """What the model was asked after the attacks, a row a sample.

    Attributes:
        records: of the probe stage.
        deep: whether a sample withstood some radius and was asked what else may break it, (m,).
    """

    records: Records
    deep: NDArray[np.bool_]

    @classmethod
    def of(cls, evidence: Evidence) -> Probed | None:
        """Returns the probe records, or None where there are none."""
        records = evidence.own.records
        if not len(records) or "noise_breaks" not in records:
            return None
        table = records.table
        own = Records(table.filter(pc.equal(table.column("attack"), PROBE)))
        if not len(own):
            return None
        return cls(own, own.array("noise_breaks") >= 0)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, column: str) -> NDArray[Any]:
        return self.records.array(column)


def beyond(count: int, of: int, share: float) -> bool:
    """Whether `count` is above a share, and no single sample, unless there is but one."""
    return of > 0 and count >= min(2, of) and count > share * of


def finding(
    code: str, message: str, evidence: Mapping[str, Any], *, invalid: bool = False
) -> Finding:
    """Returns a finding that makes a cell suspect, or invalid."""
    severity = Severity.INVALID if invalid else Severity.SUSPECT
    return Finding(code=code, severity=severity, message=message, evidence=evidence)


_NOISE = {"": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""How far answers may lie apart, relative to the largest logit, for float reasons alone."""

_GRADIENT_NOISE = 5e-2

_ALIKE, _DISTINCT = 0.5, 0.05
"""Shares of perturbed images that are answered alike, and of images as they are."""


def is_random(probed: Probed, variant: str) -> bool:
    """Whether the same images, asked twice, get other answers or other gradients."""
    noise = _NOISE.get(variant, _NOISE[""])
    answers = int((probed["answer_apart"] > noise).sum())
    gradients = int((probed["gradient_apart"] > _GRADIENT_NOISE).sum())
    return beyond(max(answers, gradients), len(probed), 0.0)


def audit_answers(probed: Probed, *, random: bool, eot: int) -> Findings:
    """Looks at what the model says."""
    found: Findings = []
    n = len(probed)
    if random:
        apart = {name: float(np.nanmax(probed[f"{name}_apart"])) for name in ("answer", "gradient")}
        message = (
            f"the same images, asked twice, get answers up to {apart['answer']:.2g} apart, and "
            f"gradients up to {apart['gradient']:.2g} (relative): "
        )
        if eot > 1:
            message += f"the attacks average {eot} gradients in each step"
        else:
            message += "attacks that take one gradient a step are misled; the protocol rand isn't"
        severity = Severity.INFO if eot > 1 else Severity.SUSPECT
        found.append(
            Finding(code="random-under-attack", severity=severity, message=message, evidence=apart)
        )
    simplex = float(probed["simplex"].mean())
    if simplex > 0.99 and len(np.unique(probed["first_logit_0"])) > 1:
        found.append(
            finding(
                "probabilities-as-logits",
                "what should be logits are probabilities: losses of attacks apply a softmax to a "
                "softmax, and their gradients vanish where the model is sure",
                {"share_on_simplex": simplex, "samples": n},
                invalid=True,
            )
        )
    found += _alike(probed)
    abstained = int(((probed["abstains"] > 0) | (probed["late_abstains"] > 0)).sum())
    if beyond(abstained, n, _MISSING):
        found.append(
            finding(
                "abstains-under-attack",
                f"of {abstained} of {n} samples the model gives all classes one score, as they are "
                "or near them: it abstains, and what it abstains from counts as the first class. "
                "Robust accuracy takes that as wrong but for samples of this class",
                {"samples": n, "abstained": abstained},
            )
        )
    if bool(probed["inner_gradients"].any()):
        found.append(
            finding(
                "gradients-in-forward",
                "the model computes gradients while it answers: it optimises at test time, and an "
                "attack that does not go through this is too weak",
                {"samples": n},
            )
        )
    return found


def _alike(probed: Probed) -> Findings:
    if _repeated(probed, "first") > _DISTINCT or len(probed) < 3:
        return []
    shares = {name: _repeated(probed, name) for name in ("noise", "step", "odd")}
    name, share = max(shares.items(), key=lambda item: item[1])
    if share < _ALIKE:
        return []
    what = {"noise": "with noise", "step": "after one step of an attack", "odd": "of mere noise"}
    return [
        finding(
            "same-answer-to-odd-inputs",
            f"{100 * share:.0f} % of {len(probed)} images {what[name]} get the same logits as "
            "another one, and as they are they don't: the model gives up on what looks odd, and an "
            "attack sees no gradient there",
            {"samples": len(probed), **shares},
        )
    ]


def _repeated(probed: Probed, name: str) -> float:
    """Returns the share of answers that are the same as another image's."""
    pairs = np.stack([probed[f"{name}_logit_{column}"] for column in (0, 1)], axis=1)
    _, inverse, counts = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
    return float((counts[inverse.ravel()] > 1).mean())


_MISSING, _MOSTLY = 0.05, 0.5
"""Shares of samples without a usable gradient that are suspect, and invalid."""

_DIAMETERS = 10.0
"""A loss that would need so many diameters of the box to change its sign has no slope."""

_CLEAR = 8.0
"""A change counts that is so many times what the logits resolve."""

_FEWEST = 3
_LEAST, _MOST = 0.5, 2.0
"""Ratios of the change that is seen to that which the gradient says, at the finest scale."""

_LEAST_LATER = 0.3
"""The same, at one and at four grey levels: there honest losses bend."""

_UNEXPLAINED = 0.03
"""The share of changes in random directions that the gradient leaves open."""


def audit_gradients(probed: Probed) -> Findings:
    """Looks for gradients that are zero, not finite, or too small to lead anywhere."""
    size, beside = probed["gradient"], probed["gradient_beside"]
    n = len(probed)
    found: Findings = []
    infinite = int((~np.isfinite(size) | ~np.isfinite(beside)).sum())
    if infinite:
        found.append(
            finding(
                "gradients-not-finite",
                f"gradients of {infinite} of {n} samples are not finite: attacks take them as 0",
                {"samples": n, "not_finite": infinite},
                invalid=infinite > _MOSTLY * n,
            )
        )
    zero = int(((size == 0) | (beside == 0)).sum())
    if beyond(zero, n, _MISSING):
        found.append(
            finding(
                "zero-gradients",
                f"gradients of {zero} of {n} samples are exactly 0, as they are or with noise: "
                "gradient attacks can't move them",
                {"samples": n, "zero": zero},
                invalid=zero > _MOSTLY * n,
            )
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs(probed["loss"]) / size
    far = int(((distance > _DIAMETERS * np.sqrt(probed["pixels"])) & (size > 0)).sum())
    if beyond(far, n, _MISSING):
        found.append(
            finding(
                "vanishing-gradients",
                f"of {far} of {n} samples the gradient is so small that the class would change "
                f"beyond {_DIAMETERS:g} diameters of the box, if the loss went on as it begins",
                {"samples": n, "vanishing": far, "median_norm": float(np.nanmedian(size))},
                invalid=far > _MOSTLY * n,
            )
        )
    return found


def audit_differences(probed: Probed) -> Findings:
    """Holds changes of the loss against what its gradient says."""
    coarse = bool(probed["coarse"].mean() > 0.5)
    scale = "wide" if coarse else "fine"
    clear = _clear(probed, scale)
    n = int(clear.sum())
    if n < _FEWEST:
        return []
    still = int(probed[f"{scale}_still"][clear].sum())
    if beyond(still, n, _MOSTLY):
        return [
            finding(
                "quantised-input",
                f"for {still} of {n} samples a small step along the gradient changes nothing at "
                "all: the input is rounded before the model sees it, and the gradient is not that "
                "of the answer",
                {"samples": n, "unchanged": still},
            )
        ]
    ratio = _ratio(probed, scale, clear)
    if not _LEAST <= ratio <= _MOST:
        return [
            finding(
                "gradient-disagrees-with-differences",
                f"along its gradient the loss changes by {ratio:.3g} times what the gradient says "
                f"(median of {n} samples): it is the gradient of something else",
                {"samples": n, "ratio": ratio},
            )
        ]
    found: Findings = []
    later = {
        name: _ratio(probed, name, _clear(probed, name)) for name in ("grey", "wide") if not coarse
    }
    low = {name: value for name, value in later.items() if value < _LEAST_LATER}
    if low:
        name, value = min(low.items(), key=lambda item: item[1])
        found.append(
            finding(
                "shattered-gradients",
                "the gradient holds for the smallest steps only: over "
                f"{'one grey level' if name == 'grey' else 'four grey levels'} the loss changes by "
                f"{value:.3g} times what it says (median of {n} samples)",
                {"samples": n, "ratio": ratio, **later},
            )
        )
    return found or _random_directions(probed) or _late_directions(probed)


def _late_directions(probed: Probed) -> Findings:
    expected, seen = probed["late_expected"], probed["late_seen"]
    known = np.isfinite(seen).any(axis=1)
    n = int(known.sum())
    if n < _FEWEST:
        return []
    missed = np.nansum((seen[known] - expected[known]) ** 2, axis=1)
    with np.errstate(divide="ignore"):
        shares = missed / np.nansum(seen[known] ** 2, axis=1)
    unexplained = float(np.median(shares))
    worse = int((shares > 1).sum())
    if unexplained <= _UNEXPLAINED and not beyond(worse, n, _MISSING):
        return []
    return [
        finding(
            "gradient-fails-on-the-way",
            "where an attack ended, the gradient says little of how the loss changes around there: "
            f"it leaves {100 * min(unexplained, 1.0):.0f} % open (median of {n} samples), and is "
            f"worse than none for {worse}",
            {"samples": n, "unexplained": unexplained, "worse": worse},
        )
    ]


def _random_directions(probed: Probed) -> Findings:
    expected, seen = probed["random_expected"], probed["random_seen"]
    if np.sqrt((seen**2).mean()) < _CLEAR * np.median(probed["resolution"]):
        return []
    unexplained = float(((seen - expected) ** 2).sum() / (seen**2).sum())
    if len(probed) < _FEWEST or not unexplained > _UNEXPLAINED:
        return []
    return [
        finding(
            "gradient-misses-directions",
            f"in random directions the gradient explains {100 * max(0.0, 1 - unexplained):.0f} % "
            f"of how the loss of {len(probed)} samples changes: part of it is hidden",
            {"samples": len(probed), "unexplained": unexplained},
        )
    ]


def _clear(probed: Probed, scale: str) -> NDArray[np.bool_]:
    expected = np.nan_to_num(probed[f"{scale}_expected"])
    return np.asarray(expected >= _CLEAR * probed["resolution"])


def _ratio(probed: Probed, scale: str, clear: NDArray[np.bool_]) -> float:
    if not clear.any():
        return 1.0
    return float(np.median(probed[f"{scale}_seen"][clear] / probed[f"{scale}_expected"][clear]))


_FEW = 0.05
_MISSED = 0.1
_MOSTLY = 0.5
_NOISE_AS_WELL, _ENOUGH = 0.5, 10
"""The share of random points that break what the attacks broke, and of how many samples."""


def audit_stronger(probed: Probed) -> Findings:
    """Looks at noise, a single step, an unbounded attack and planted examples."""
    deep = probed.deep
    n = int(deep.sum())
    found: Findings = []
    noise = int((probed["noise_breaks"][deep] > 0).sum())
    if beyond(noise, n, 0.0):
        found.append(
            finding(
                "noise-beats-attack",
                f"random noise ({NOISE_DRAWS} draws) broke {noise} of {n} samples within a radius "
                "at which no attack did: the attacks are misled",
                {"samples": n, "broken": noise, "draws": NOISE_DRAWS},
            )
        )
    step = int(probed["step_breaks"][deep].sum())
    if beyond(step, n, 0.0):
        found.append(
            finding(
                "one-step-beats-many",
                f"a single step of the gradient broke {step} of {n} samples within a radius at "
                "which no attack did with many",
                {"samples": n, "broken": step},
            )
        )
    whole = int((probed["unbounded_breaks"][deep] == 0).sum())
    if beyond(whole, n, _FEW):
        found.append(
            finding(
                "unbounded-attack-fails",
                f"{whole} of {n} samples are still right after {UNBOUNDED_STEPS} steps of an "
                "attack that may change the image as it likes, where none should be: its gradients "
                "lead nowhere",
                {"samples": n, "right": whole, "steps": UNBOUNDED_STEPS},
                invalid=whole > _MOSTLY * n,
            )
        )
    planted = deep & (probed["planted"] == 1)
    missed = int((probed["planted_found"][planted] == 0).sum())
    if beyond(missed, int(planted.sum()), _MISSED):
        found.append(
            finding(
                "planted-example-missed",
                f"{missed} of {int(planted.sum())} examples that were planted within the radius "
                "are not found by following the gradient",
                {"samples": int(planted.sum()), "missed": missed},
                invalid=missed > _MOSTLY * int(planted.sum()),
            )
        )
    falls = probed["noise_breaks_too"]
    fallen = falls >= 0
    share = float(falls[fallen].mean() / NEAR_DRAWS) if fallen.any() else 0.0
    if int(fallen.sum()) >= _ENOUGH and share >= _NOISE_AS_WELL:
        found.append(
            finding(
                "noise-does-as-well",
                f"{100 * share:.0f} % of random points break what the attacks broke "
                f"({int(fallen.sum())} samples, {NEAR_DRAWS} draws each): the model falls to noise "
                "of this size, whatever its gradients say",
                {"samples": int(fallen.sum()), "share": share},
            )
        )
    return found


def audit_steps(probed: Probed, threat: ThreatModel) -> Findings:
    """Looks at what twice the steps gain."""
    deep = probed.deep
    n, gained = int(deep.sum()), int((probed["longer_breaks"][deep] == 1).sum())
    if not beyond(gained, n, _FEW):
        return []
    return [
        finding(
            "more-steps-gain",
            f"with {2 * threat.steps} steps instead of {threat.steps} APGD-CE broke {gained} of "
            f"{n} samples more: the attacks had not come to their end",
            {"samples": n, "gained": gained, "steps": threat.steps},
        )
    ]


def _answers(probed: Probed, random: bool, threat: ThreatModel) -> Findings:
    return audit_answers(probed, random=random, eot=threat.eot)


def _gradients(probed: Probed, random: bool, threat: ThreatModel) -> Findings:
    return audit_gradients(probed)


def _stronger(probed: Probed, random: bool, threat: ThreatModel) -> Findings:
    return audit_stronger(probed)


# What a random model does can't be separated from what its gradients say.
def _differences(probed: Probed, random: bool, threat: ThreatModel) -> Findings:
    return [] if random else audit_differences(probed)


def _steps(probed: Probed, random: bool, threat: ThreatModel) -> Findings:
    return [] if random else audit_steps(probed, threat)


_CHECKS = (_answers, _gradients, _stronger, _differences, _steps)


def causes(probed: Probed, variant: str, threat: ThreatModel) -> Findings:
    """Returns all that probes say against the attacks: causes for a second opinion."""
    random = is_random(probed, variant)
    return [one for check in _CHECKS for one in check(probed, random, threat)]


def _of_probes(check: Callable[[Probed, bool, ThreatModel], Findings]) -> Find:
    """Returns an audit's function that finds nothing where there are no probe records."""

    def find(evidence: Evidence, scenario: Any) -> Findings:
        probed = evidence.once("probed", lambda: Probed.of(evidence))
        if probed is None:
            return []
        random = is_random(probed, evidence.own.model.variant)
        return weighed(check(probed, random, scenario.threat), evidence, scenario)

    return find


_KNOWN = "crucibench_suites.adversarial.known_answers:"

ANSWERS = Audit(
    name="answers-under-attack",
    description="Does the model answer in a way that misleads attacks?",
    function=_of_probes(_answers),
    known_answer=_KNOWN + "ANSWERS",
)

GRADIENTS = Audit(
    name="attack-gradients",
    description="Are gradients zero, not finite, or too small to lead anywhere?",
    function=_of_probes(_gradients),
    known_answer=_KNOWN + "GRADIENTS",
)

STRONGER = Audit(
    name="stronger-attacks",
    description="Does something simpler, or without bounds, do better or worse than it should?",
    function=_of_probes(_stronger),
    known_answer=_KNOWN + "STRONGER",
)

DIFFERENCES = Audit(
    name="gradient-differences",
    description="Does the loss change as its gradient says?",
    function=_of_probes(_differences),
    known_answer=_KNOWN + "DIFFERENCES",
)

STEPS = Audit(
    name="more-steps",
    description="Do twice the steps break more samples?",
    function=_of_probes(_steps),
    known_answer=_KNOWN + "STEPS",
)
