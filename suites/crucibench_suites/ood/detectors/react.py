"""ReAct: energy after clipping the features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score, Uses
from crucibench_suites.ood.detectors.energy import free_energy

MOST_SAMPLES = 20_000
"""Percentiles are taken of the features of at most so many train samples."""


class ReAct(Detector):
    """Energy of the logits of clipped features."""

    name: ClassVar[str] = "react"
    title: ClassVar[str] = "ReAct"
    definition: ClassVar[str] = (
        "The energy of the head's logits after cutting features off at a percentile of all "
        "features of (at most 20,000 samples of) the train role."
    )
    source: ClassVar[str] = "Sun, Guo and Li, NeurIPS 2021"
    requires: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.FEATURES, Capability.HEAD}
    )
    uses: ClassVar[frozenset[Uses]] = frozenset({"train", "head"})
    setting: ClassVar[str] = "percentile"
    values: ClassVar[tuple[float, ...]] = (85, 90, 95, 99)
    default: ClassVar[float] = 90

    def fit(self, material: Material) -> Score:
        """Finds where to cut."""
        head = material.the_head()
        answers, _ = material.the_train().sample(MOST_SAMPLES)
        every = sorted({*self.values, self.default})
        ends = dict(zip(every, np.percentile(answers.known_features, every), strict=True))

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            features = answers.known_features
            logits = (head.logits(np.minimum(features, ends[value])) for value in values)
            return np.stack([free_energy(part) for part in logits], axis=1)

        return score
