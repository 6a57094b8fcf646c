"""A detector of unfamiliar inputs: those whose features are short."""

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import Detector


class FeatureNorm(Detector):
    """Features of familiar samples are long."""

    name = "norm"
    title = "Feature norm"
    source = "an example"
    definition = "Minus the p-norm of the features."
    requires = frozenset({Capability.SCORES, Capability.FEATURES})
    setting, values, default = "p", (1, 2), 2

    def fit(self, material):
        def score(answers, values):
            features = answers.known_features
            return np.stack([-np.linalg.norm(features, ord=p, axis=1) for p in values], axis=1)

        return score

    def known_answer(self, example):
        return -np.sqrt((example.asked**2).sum(axis=1))
