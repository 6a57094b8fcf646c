"""SHE: the inner product with the predicted class's pattern."""

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


class SHE(Detector):
    """Simplified Hopfield energy."""

    name = "she"
    title = "SHE"
    definition = (
        "Minus the inner product of the features with the mean features of the train samples of "
        "the predicted class that the model predicts rightly (0 where it has none)."
    )
    source = "Zhang et al., ICLR 2023"
    requires = frozenset({Capability.SCORES, Capability.FEATURES})
    uses = frozenset({"moments"})

    def fit(self, material: Material) -> Score:
        """Takes the patterns."""
        patterns = material.the_moments().right_means

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            products = np.einsum("nd,nd->n", answers.known_features, patterns[answers.predictions])
            return np.asarray(-products[:, None])

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Inner products with means of the samples of a class that are predicted rightly."""
        z, y, head = example.train, example.targets, example.head
        right = head.logits(z).argmax(axis=1) == y
        return np.array(
            [-x @ z[right & (y == (head.weight @ x + head.bias).argmax())].mean(axis=0)
             for x in example.asked]
        )  # fmt: skip
