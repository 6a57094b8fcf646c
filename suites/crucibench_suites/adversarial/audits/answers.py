"""Audits of the answers: random, saturated, probabilities, alike, or found by optimising."""

from __future__ import annotations

import numpy as np

from crucibench.contracts.evidence import Findings
from crucibench.contracts.verdict import Finding, Severity
from crucibench_suites.adversarial.audits.probed import Probed, beyond, finding

_NOISE = {"": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
"""How far answers may lie apart, relative to the largest logit, for float reasons alone."""

_GRADIENT_NOISE = 5e-2

SATURATED = 100.0
"""A lead over the next class from which the gradient of cross-entropy is 0 in float32."""

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
    lead = float(np.median(probed["lead"]))
    if lead > SATURATED:
        found.append(
            finding(
                "saturated-logits",
                f"the first class leads by {lead:.4g} logits (median of {n} samples): beyond "
                f"{SATURATED:g} float32 has no gradient of cross-entropy, so that robustness to "
                "attacks that rely on it would mean nothing",
                {"median_lead": lead, "samples": n},
            )
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
