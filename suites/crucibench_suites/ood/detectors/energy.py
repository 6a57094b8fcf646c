"""Energy: the log partition function of the logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import logsumexp

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)


class Energy(Detector):
    """Free energy at temperature 1."""

    name = "energy"
    title = "Energy"
    definition = "Minus the logarithm of the sum of exponentials of the logits."
    source = "Liu et al., Energy-based OOD Detection, NeurIPS 2020"
    requires = frozenset({Capability.SCORES, Capability.LOGITS})

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return free_energy(answers.logits)[:, None]

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Minus scipy's log-sum-exp of the logits."""
        return np.asarray(-logsumexp(example.head.logits(example.asked), axis=1))


def free_energy(logits: Floats) -> Floats:
    """Returns minus log sum exp of logits (n, K), shape (n,)."""
    highest = logits.max(axis=1)
    return np.asarray(-highest - np.log(np.exp(logits - highest[:, None]).sum(axis=1)))
