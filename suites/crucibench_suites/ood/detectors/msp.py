"""MSP: the highest softmax probability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score


class MSP(Detector):
    """Maximum softmax probability, the baseline."""

    name: ClassVar[str] = "msp"
    title: ClassVar[str] = "MSP"
    definition: ClassVar[str] = "Minus the highest softmax probability."
    source: ClassVar[str] = "Hendrycks and Gimpel, ICLR 2017"

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return np.asarray(-answers.probabilities.max(axis=1, keepdims=True))

        return score
