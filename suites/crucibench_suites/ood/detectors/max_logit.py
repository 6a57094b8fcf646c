"""MaxLogit: the highest logit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score


class MaxLogit(Detector):
    """The highest logit."""

    name: ClassVar[str] = "max-logit"
    title: ClassVar[str] = "MaxLogit"
    definition: ClassVar[str] = "Minus the highest logit."
    source: ClassVar[str] = "Hendrycks et al., Scaling OOD Detection, ICML 2022"
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.LOGITS})

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return np.asarray(-answers.logits.max(axis=1, keepdims=True))

        return score
