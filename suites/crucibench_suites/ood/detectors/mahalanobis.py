"""Mahalanobis distance to the nearest class."""

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
    Moments,
    Score,
    UnfitError,
)


class Mahalanobis(Detector):
    """Squared distance to the nearest class mean, under the covariance that classes share."""

    name = "mahalanobis"
    title = "Mahalanobis"
    definition = (
        "The smallest squared Mahalanobis distance of the features to a class mean of the train "
        "role, under the pooled within-class covariance (divided by n, pseudo-inverse)."
    )
    source = "Lee et al., NeurIPS 2018, without input preprocessing and ensembles"
    requires = frozenset({Capability.SCORES, Capability.FEATURES})
    uses = frozenset({"moments"})
    version = 2

    def fit(self, material: Material) -> Score:
        """Takes class means and covariance."""
        nearest = NearestClass(material.the_moments())

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            return nearest(answers.known_features)[:, None]

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Each distance by solving a linear system, the covariance a mean of outer products."""
        z, y = example.train, example.targets
        means = [z[y == k].mean(axis=0) for k in np.unique(y)]
        apart = [row - means[k] for row, k in zip(z, y, strict=True)]
        within = np.mean([np.outer(row, row) for row in apart], axis=0)
        return np.array(
            [min((x - m) @ np.linalg.solve(within, x - m) for m in means) for x in example.asked]
        )


class Distance:
    """Squared Mahalanobis distances to one or several centres under one covariance."""

    def __init__(self, centres: Floats, covariance: Floats, least: float) -> None:
        """Takes centres (K, D), a covariance (D, D), and the least variance that counts."""
        # Whitened, a distance is Euclidean, and that to all centres is one matrix product.
        self._whiten = whitening(covariance, least)
        self._centres = centres @ self._whiten
        self._norms = (self._centres**2).sum(axis=1)

    def __call__(self, features: Floats) -> Floats:
        """Returns distances of features (n, D) to each centre, shape (n, K)."""
        white = features @ self._whiten
        apart = (white**2).sum(axis=1)[:, None] + self._norms - 2.0 * white @ self._centres.T
        return np.asarray(np.maximum(apart, 0.0))


def whitening(covariance: Floats, least: float) -> Floats:
    """Returns W, shape (D, r), with W W^T the pseudo-inverse of a covariance (D, D).

    Args:
        covariance: shape (D, D).
        least: directions of no more variance are left out.

    Raises:
        UnfitError: if that leaves none.
    """
    variances, directions = np.linalg.eigh(covariance)
    kept = variances > least
    if not kept.any():
        raise UnfitError("the features of the train role do not vary within classes")
    return np.asarray(directions[:, kept] / np.sqrt(variances[kept]))


class NearestClass:
    """The distance to the nearest class that has samples."""

    def __init__(self, moments: Moments) -> None:
        centre = moments.mean
        self._centre = centre
        self._distance = Distance(
            moments.means[moments.count > 0] - centre, moments.within, moments.least_variance
        )

    def __call__(self, features: Floats) -> Floats:
        """Returns squared distances of features (n, D), shape (n,)."""
        return np.asarray(self._distance(features - self._centre).min(axis=1))
