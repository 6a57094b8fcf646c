"""GEN: a generalised entropy of the predicted distribution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import softmax

from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)

MOST_CLASSES = 100
"""Only so many of the highest probabilities are summed."""


class GEN(Detector):
    """Generalised entropy."""

    name = "gen"
    title = "GEN"
    definition = "The sum of p^gamma (1 - p)^gamma over the 100 highest softmax probabilities p."
    source = "Liu, Lochman and Zach, CVPR 2023"
    setting = "gamma"
    values = (0.01, 0.1, 0.5, 1.0)
    default = 0.1

    def fit(self, material: Material) -> Score:
        """Needs nothing."""

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            spread = _p_times_rest(answers.logits)
            if spread.shape[1] > MOST_CLASSES:
                order = answers.logits.argpartition(-MOST_CLASSES, axis=1)[:, -MOST_CLASSES:]
                spread = np.take_along_axis(spread, order, axis=1)
            return np.stack([(spread**gamma).sum(axis=1) for gamma in values], axis=1)

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """The sum over classes of a power of p (1 - p), p by scipy."""
        p = softmax(example.head.logits(example.asked), axis=1)
        return np.asarray(((p * (1 - p)) ** self.default).sum(axis=1))


def _p_times_rest(logits: Floats) -> Floats:
    """Returns p (1 - p) of softmax probabilities, to full precision also where p is nearly 1."""
    top = logits.argmax(axis=1)[:, None]
    parts = np.exp(logits - np.take_along_axis(logits, top, axis=1))
    total = parts.sum(axis=1, keepdims=True)
    rest = total - parts
    others = parts.copy()
    np.put_along_axis(others, top, 0.0, axis=1)
    np.put_along_axis(rest, top, others.sum(axis=1, keepdims=True), axis=1)
    return np.asarray(parts * rest / total**2)
