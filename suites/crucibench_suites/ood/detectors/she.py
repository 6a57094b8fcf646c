"""SHE: the inner product with the predicted class's pattern."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score, Uses


class SHE(Detector):
    """Simplified Hopfield energy."""

    name: ClassVar[str] = "she"
    title: ClassVar[str] = "SHE"
    definition: ClassVar[str] = (
        "Minus the inner product of the features with the mean features of the train samples of "
        "the predicted class that the model predicts rightly (0 where it has none)."
    )
    source: ClassVar[str] = "Zhang et al., ICLR 2023"
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.FEATURES})
    uses: ClassVar[frozenset[Uses]] = frozenset({"moments"})

    def fit(self, material: Material) -> Score:
        """Takes the patterns."""
        patterns = material.the_moments().right_means

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            products = np.einsum("nd,nd->n", answers.known_features, patterns[answers.predictions])
            return np.asarray(-products[:, None])

        return score
