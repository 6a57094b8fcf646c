"""ReAct: energy after clipping the features."""

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
from crucibench_suites.ood.detectors.energy import free_energy

MOST_SAMPLES = 20_000
"""Percentiles are taken of the features of at most so many train samples."""


class ReAct(Detector):
    """Energy of the logits of clipped features."""

    name = "react"
    title = "ReAct"
    definition = (
        "The energy of the head's logits after cutting features off at a percentile of all "
        "features of (at most 20,000 samples of) the train role."
    )
    source = "Sun, Guo and Li, NeurIPS 2021"
    requires = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.FEATURES, Capability.HEAD}
    )
    uses = frozenset({"train", "head"})
    setting = "percentile"
    values = (85, 90, 95, 99)
    default = 90

    def fit(self, material: Material) -> Score:
        """Finds where to cut."""
        head = material.the_head()
        answers, _ = material.the_train().sample(MOST_SAMPLES)
        every: list[float] = sorted({*self.values, self.default})
        ends = dict(zip(every, np.percentile(answers.known_features, every), strict=True))

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            features = answers.known_features
            logits = (head.logits(np.minimum(features, ends[value])) for value in values)
            return np.stack([free_energy(part) for part in logits], axis=1)

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Energy of features cut off at a percentile of all train features, sorted by hand."""
        ordered = np.sort(example.train, axis=None)
        place = self.default / 100 * (len(ordered) - 1)
        low = int(place)
        end = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
        cut = np.where(example.asked > end, end, example.asked)
        return np.asarray(-logsumexp(example.head.logits(cut), axis=1))
