"""Audits of what the attacks left: did something simpler, or something larger, break it?"""

from __future__ import annotations

from crucibench.contracts.evidence import Findings
from crucibench_suites.adversarial.audits.probed import Probed, beyond, finding
from crucibench_suites.adversarial.probing.costs import NEAR_DRAWS, NOISE_DRAWS, UNBOUNDED_STEPS
from crucibench_suites.adversarial.threat import ThreatModel

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
