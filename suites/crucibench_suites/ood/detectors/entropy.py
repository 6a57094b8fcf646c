"""Entropy of the predicted distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import entr, log_softmax

from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)


class Entropy(Detector):
    """Shannon entropy of the softmax probabilities."""

    name = "entropy"
    title = "Entropy"
    definition = "The entropy of the softmax probabilities, in nats."
    source = "Chan, Rottmann and Gottschalk, ICCV 2021"

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            spread: Floats = entr(answers.probabilities).sum(axis=1, keepdims=True)
            return spread

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Minus the mean log probability of a class drawn by its probability."""
        log_p = log_softmax(example.head.logits(example.asked), axis=1)
        return np.array([-np.average(row, weights=np.exp(row)) for row in log_p])
