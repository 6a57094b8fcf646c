"""MaxLogit: the highest logit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)


class MaxLogit(Detector):
    """The highest logit."""

    name = "max-logit"
    title = "MaxLogit"
    definition = "Minus the highest logit."
    source = "Hendrycks et al., Scaling OOD Detection, ICML 2022"
    requires = frozenset({Capability.SCORES, Capability.LOGITS})

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return np.asarray(-answers.logits.max(axis=1, keepdims=True))

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """The highest of the head's inner products with a sample."""
        rows = list(zip(example.head.weight, example.head.bias, strict=True))
        return np.array([-max(w @ x + b for w, b in rows) for x in example.asked])
