"""MSP: the highest softmax probability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)


class MSP(Detector):
    """Maximum softmax probability, the baseline."""

    name = "msp"
    title = "MSP"
    definition = "Minus the highest softmax probability."
    source = "Hendrycks and Gimpel, ICLR 2017"

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return np.asarray(-answers.probabilities.max(axis=1, keepdims=True))

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """1 / sum of exp(logit - highest logit), a sample at a time."""
        logits = example.head.logits(example.asked)
        return np.array([-1.0 / np.exp(row - row.max()).sum() for row in logits])
