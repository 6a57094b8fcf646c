"""Temperature-scaled MSP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench.metrics.probabilistic import softmax
from crucibench.metrics.temperature import fit_temperature
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score, Uses


class TemperatureScaled(Detector):
    """MSP after dividing logits by the temperature that calibrates the model."""

    name: ClassVar[str] = "temperature"
    title: ClassVar[str] = "Temperature-scaled MSP"
    definition: ClassVar[str] = (
        "Minus the highest probability of softmax(logits / T), T of lowest log loss on the "
        "familiar samples that are kept apart and not scored; T = 1 where the log loss has no "
        "minimum."
    )
    source: ClassVar[str] = "Guo et al., ICML 2017"
    uses: ClassVar[frozenset[Uses]] = frozenset({"kept"})

    def fit(self, material: Material) -> Score:
        """Fits T."""
        answers, targets = material.the_kept()
        found = fit_temperature(answers.logits, targets)
        # All predicted rightly, or no skill: the loss falls up to the end of the searched range.
        temperature = 1.0 if found.at_bound else found.temperature.value or 1.0

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return np.asarray(-softmax(answers.logits / temperature).max(axis=1, keepdims=True))

        return score
