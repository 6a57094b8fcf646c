"""Temperature-scaled MSP."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
)
from crucibench.metrics.probabilistic import softmax
from crucibench.metrics.temperature import fit_temperature


class TemperatureScaled(Detector):
    """MSP after dividing logits by the temperature that calibrates the model."""

    name = "temperature"
    title = "Temperature-scaled MSP"
    definition = (
        "Minus the highest probability of softmax(logits / T), T of lowest log loss on the "
        "familiar samples that are kept apart and not scored; T = 1 where the log loss has no "
        "minimum."
    )
    source = "Guo et al., ICML 2017"
    uses = frozenset({"kept"})

    def fit(self, material: Material) -> Score:
        """Fits T."""
        answers, targets = material.the_kept()
        found = fit_temperature(answers.logits, targets)
        # All predicted rightly, or no skill: the loss falls up to the end of the searched range.
        temperature = 1.0 if found.at_bound else found.temperature.value or 1.0

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return np.asarray(-softmax(answers.logits / temperature).max(axis=1, keepdims=True))

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """MSP at the inverse temperature of lowest log loss, by scipy's bounded search."""
        logits, targets = example.head.logits(example.train), example.targets
        own = logits[np.arange(len(targets)), targets]
        best = minimize_scalar(
            lambda b: np.mean(logsumexp(b * logits, axis=1) - b * own),
            bounds=(0.01, 10.0), method="bounded", options={"xatol": 1e-10},
        ).x  # fmt: skip
        return np.array(
            [-1.0 / np.exp(best * (x - x.max())).sum() for x in example.head.logits(example.asked)]
        )
