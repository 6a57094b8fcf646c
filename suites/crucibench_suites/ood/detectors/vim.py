"""ViM: virtual-logit matching."""

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
    UnfitError,
)
from crucibench_suites.ood.detectors.energy import free_energy

_ROUNDING = 1e-9
"""Residuals below this share of the features' length are rounding."""


class ViM(Detector):
    """The residual outside the principal subspace, as one more logit."""

    name = "vim"
    title = "ViM"
    definition = (
        "alpha |r| minus log sum exp of the logits: r is the part of the features, less the origin "
        "-pinv(W) b, outside their principal subspace on the train role, whose dimension is the "
        "given share of all; alpha is the mean of the highest logit over the mean of |r| there."
    )
    source = "Wang et al., CVPR 2022"
    requires = frozenset(
        {Capability.SCORES, Capability.LOGITS, Capability.FEATURES, Capability.HEAD}
    )
    uses = frozenset({"train", "moments", "head"})
    setting = "share"
    values = (0.125, 0.25, 0.5, 0.75)
    default = 0.5

    def fit(self, material: Material) -> Score:
        """Finds the subspaces and the scale of the virtual logit of each."""
        moments, head = material.the_moments(), material.the_head()
        origin = -np.linalg.pinv(head.weight) @ head.bias
        shift = moments.mean - origin
        _, directions = np.linalg.eigh(moments.covariance + np.outer(shift, shift))
        size = len(origin)
        # The smallest directions come first: the residual lies in the first size - d of them.
        outside = {
            share: size - min(max(round(share * size), 1), size - 1)
            for share in {*self.values, self.default}
        }

        ends = np.unique(list(outside.values()))
        rest = directions[:, : ends[-1]]

        def residuals(answers: Answers, values: Sequence[float]) -> Floats:
            squares = ((answers.known_features - origin) @ rest) ** 2
            upto = np.add.reduceat(squares, [0, *ends[:-1]], axis=1).cumsum(axis=1)
            places = np.searchsorted(ends, [outside[value] for value in values])
            return np.asarray(np.sqrt(upto[:, places]))

        every = sorted(outside)
        total, highest, length = np.zeros(len(every)), 0.0, 0.0
        for answers, _ in material.the_train().blocks():
            total += residuals(answers, every).sum(axis=0)
            highest += float(answers.logits.max(axis=1).sum())
            length += float(np.linalg.norm(answers.known_features - origin, axis=1).sum())
        if not (total > _ROUNDING * length).all():
            raise UnfitError("the train role's features have no residual: nothing to scale by")
        alpha = dict(zip(every, highest / total, strict=True))

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            virtual = residuals(answers, values) * np.array([alpha[value] for value in values])
            return np.asarray(virtual + free_energy(answers.logits)[:, None])

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """By singular vectors of the shifted features, in place of the eigenvectors of sums."""
        head, z = example.head, example.train
        origin = np.linalg.lstsq(head.weight, -head.bias, rcond=None)[0]
        _, _, directions = np.linalg.svd(z - origin)
        rest = directions[round(self.default * len(origin)) :]
        alpha = head.logits(z).max(axis=1).mean()
        alpha /= np.linalg.norm((z - origin) @ rest.T, axis=1).mean()
        length = np.linalg.norm((example.asked - origin) @ rest.T, axis=1)
        return np.asarray(alpha * length - logsumexp(head.logits(example.asked), axis=1))
