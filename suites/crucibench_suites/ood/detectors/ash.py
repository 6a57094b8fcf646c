"""ASH: energy after shaping the features."""

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

_STEEPEST = 50.0
"""Ratios are cut off here: e^50 is as good as infinite, and still a float."""


class ASH(Detector):
    """ASH-S on the input of the head."""

    name = "ash"
    title = "ASH-S"
    definition = (
        "The energy of the head's logits of shaped features: all but the largest are set to 0, and "
        "these multiplied by exp(sum before / sum after)."
    )
    source = "Djurisic et al., ICLR 2023 (ASH-S), on the penultimate layer"
    requires = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.FEATURES, Capability.HEAD}
    )
    uses = frozenset({"head"})
    setting = "percentile"
    values = (65, 75, 85, 90, 95)
    default = 65

    def fit(self, material: Material) -> Score:
        """Needs the head alone."""
        head = material.the_head()

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            parts = (shaped(answers.known_features, value) for value in values)
            return np.stack([free_energy(head.logits(part)) for part in parts], axis=1)

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Energy of each sample's largest features, sorted by hand, times exp of the ratio."""
        found = []
        for x in example.asked:
            fewest = np.sort(x)[round(len(x) * self.default / 100) :].min()
            kept = np.where(x >= fewest, x, 0.0)
            logits = example.head.logits(kept[None] * np.exp(x.sum() / kept.sum()))
            found.append(-logsumexp(logits))
        return np.array(found)


def shaped(features: Floats, percentile: float) -> Floats:
    """Returns ASH-S of features (n, D): the n - round(n percentile / 100) largest, scaled."""
    size = features.shape[1]
    kept = max(1, size - round(size * percentile / 100))
    places = np.argpartition(features, size - kept, axis=1)[:, size - kept :]
    pruned = np.zeros_like(features)
    np.put_along_axis(pruned, places, np.take_along_axis(features, places, axis=1), axis=1)
    before, after = features.sum(axis=1), pruned.sum(axis=1)
    # All zero: nothing was cut away, and nothing is left to scale.
    ratio = np.divide(before, after, out=np.ones_like(before), where=after != 0)
    return np.asarray(pruned * np.exp(np.clip(ratio, -_STEEPEST, _STEEPEST))[:, None])
