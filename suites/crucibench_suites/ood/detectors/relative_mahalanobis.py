"""Relative Mahalanobis distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench_suites.ood.detector import Answers, Detector, Floats, Material, Score, Uses
from crucibench_suites.ood.detectors.mahalanobis import Distance, NearestClass


class RelativeMahalanobis(Detector):
    """The distance to the nearest class less that to all of the train role."""

    name: ClassVar[str] = "relative-mahalanobis"
    title: ClassVar[str] = "Relative Mahalanobis"
    definition: ClassVar[str] = (
        "The Mahalanobis score less the squared Mahalanobis distance to the mean of the whole "
        "train role under its covariance."
    )
    source: ClassVar[str] = "Ren et al., A Simple Fix to Mahalanobis Distance, 2021"
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.FEATURES})
    uses: ClassVar[frozenset[Uses]] = frozenset({"moments"})
    version: ClassVar[int] = 2

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
