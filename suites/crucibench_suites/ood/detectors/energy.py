"""Energy: the log partition function of the logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score


class Energy(Detector):
    """Free energy at temperature 1."""

    name: ClassVar[str] = "energy"
    title: ClassVar[str] = "Energy"
    definition: ClassVar[str] = "Minus the logarithm of the sum of exponentials of the logits."
    source: ClassVar[str] = "Liu et al., Energy-based OOD Detection, NeurIPS 2020"
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.LOGITS})

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return free_energy(answers.logits)[:, None]

        return score


def free_energy(logits: Floats) -> Floats:
    """Returns minus log sum exp of logits (n, K), shape (n,)."""
    highest = logits.max(axis=1)
    return np.asarray(-highest - np.log(np.exp(logits - highest[:, None]).sum(axis=1)))
