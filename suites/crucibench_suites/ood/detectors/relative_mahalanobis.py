"""Relative Mahalanobis distance."""

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
from crucibench_suites.ood.detectors.mahalanobis import Distance, NearestClass


class RelativeMahalanobis(Detector):
    """The distance to the nearest class less that to all of the train role."""

    name = "relative-mahalanobis"
    title = "Relative Mahalanobis"
    definition = (
        "The Mahalanobis score less the squared Mahalanobis distance to the mean of the whole "
        "train role under its covariance."
    )
    source = "Ren et al., A Simple Fix to Mahalanobis Distance, 2021"
    requires = frozenset({Capability.SCORES, Capability.FEATURES})
    uses = frozenset({"moments"})
    version = 2

    def fit(self, material: Material) -> Score:
        """Takes class means, covariance, and those of all."""
        moments = material.the_moments()
        nearest = NearestClass(moments)
        whole = Distance(
            np.zeros((1, len(moments.mean))), moments.covariance, moments.least_variance
        )

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            features = answers.known_features
            return np.asarray(nearest(features)[:, None] - whole(features - moments.mean))

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Differences of two distances, each by solving a linear system."""
        z, y = example.train, example.targets
        means = [z[y == k].mean(axis=0) for k in np.unique(y)]
        within = sum((y == k).mean() * np.cov(z[y == k].T, bias=True) for k in np.unique(y))
        whole, centre = np.cov(z.T, bias=True), z.mean(axis=0)
        return np.array(
            [min((x - m) @ np.linalg.solve(within, x - m) for m in means)
             - (x - centre) @ np.linalg.solve(whole, x - centre) for x in example.asked]
        )  # fmt: skip
