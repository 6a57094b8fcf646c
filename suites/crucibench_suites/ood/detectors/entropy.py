"""Entropy of the predicted distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from scipy.special import entr

from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score


class Entropy(Detector):
    """Shannon entropy of the softmax probabilities."""

    name: ClassVar[str] = "entropy"
    title: ClassVar[str] = "Entropy"
    definition: ClassVar[str] = "The entropy of the softmax probabilities, in nats."
    source: ClassVar[str] = "Chan, Rottmann and Gottschalk, ICCV 2021"

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            spread: Floats = entr(answers.probabilities).sum(axis=1, keepdims=True)
            return spread

        return score
