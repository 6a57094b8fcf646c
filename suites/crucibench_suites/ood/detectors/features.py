"""Detectors that read the features: Mahalanobis, KNN, ViM, ReAct, ASH and SHE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Moments,
    Score,
    Train,
    UnfitError,
)
from crucibench_suites.ood.detectors.outputs import free_energy


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

        return lambda answers, values: nearest(answers.known_features)[:, None]

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


_HELD_BYTES = 1 << 28
"""Train features of up to 256 MiB are held in memory; others are read again for each block."""

_CELLS = 1 << 24
"""Most similarities at a time (64 MiB)."""

_NORM = 1e-12


class KNN(Detector):
    """Distance to the k-th nearest neighbour, features normalised to length 1."""

    name = "knn"
    title = "KNN"
    definition = (
        "The Euclidean distance to the k-th nearest sample of the train role, features divided by "
        "their length; k is at most the number of train samples."
    )
    source = "Sun et al., ICML 2022"
    requires = frozenset({Capability.SCORES, Capability.FEATURES})
    uses = frozenset({"train"})
    setting = "k"
    values = (1, 5, 10, 20, 50, 100)
    default = 50

    def fit(self, material: Material) -> Score:
        """Keeps the train role at hand."""
        bank = _Bank(material.the_train())

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            ranks = [min(int(k), len(bank)) for k in values]
            nearest = bank.nearest(_unit(answers.known_features), max(ranks))
            # Of vectors of length 1, |x - y|^2 = 2 - 2 x.y.
            squares = 2.0 - 2.0 * nearest[:, [rank - 1 for rank in ranks]].astype(np.float64)
            return np.sqrt(np.maximum(squares, 0.0))

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """The k-th of all distances, sorted."""
        unit = example.train / np.linalg.norm(example.train, axis=1, keepdims=True)
        return np.array(
            [np.sort(np.linalg.norm(unit - x / np.linalg.norm(x), axis=1))[int(self.default) - 1]
             for x in example.asked]
        )  # fmt: skip


class _Bank:
    """Train features of length 1, float32."""

    def __init__(self, train: Train) -> None:
        self._train = train
        self._held: list[NDArray[np.float32]] | None = []
        for part in self._read():
            if 4 * len(train) * part.shape[1] > _HELD_BYTES:
                self._held = None
                break
            self._held.append(part)
        if self._held == []:
            raise UnfitError("the train role has no sample")

    def __len__(self) -> int:
        return len(self._train)

    def _read(self) -> Iterator[NDArray[np.float32]]:
        for answers, _ in self._train.blocks():
            yield _unit(answers.known_features)

    def nearest(self, queries: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Returns the `count` highest similarities of each query, falling, (n, count)."""
        best = np.full((len(queries), count), -np.inf, dtype=np.float32)
        for part in self._read() if self._held is None else self._held:
            step = max(1, _CELLS // (len(part) + count))
            for start in range(0, len(queries), step):
                rows = slice(start, start + step)
                near = queries[rows] @ part.T
                if len(part) > count:
                    near.partition(len(part) - count, axis=1)
                    near = near[:, -count:]
                both = np.concatenate([best[rows], near], axis=1)
                both.partition(both.shape[1] - count, axis=1)
                best[rows] = both[:, -count:]
        best.sort(axis=1)
        return np.asarray(best[:, ::-1], dtype=np.float32)


def _unit(features: Floats) -> NDArray[np.float32]:
    length = np.sqrt(np.einsum("nd,nd->n", features, features))[:, None]
    return np.asarray(features / np.maximum(length, _NORM), dtype=np.float32)


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


class SHE(Detector):
    """Simplified Hopfield energy."""

    name = "she"
    title = "SHE"
    definition = (
        "Minus the inner product of the features with the mean features of the train samples of "
        "the predicted class that the model predicts rightly (0 where it has none)."
    )
    source = "Zhang et al., ICLR 2023"
    requires = frozenset({Capability.SCORES, Capability.FEATURES})
    uses = frozenset({"moments"})

    def fit(self, material: Material) -> Score:
        """Takes the patterns."""
        patterns = material.the_moments().right_means

        def score(answers: Answers, values: Sequence[float]) -> Floats:
            products = np.einsum("nd,nd->n", answers.known_features, patterns[answers.predictions])
            return np.asarray(-products[:, None])

        return score

    def known_answer(self, example: DetectorExample) -> Floats:
        """Inner products with means of the samples of a class that are predicted rightly."""
        z, y, head = example.train, example.targets, example.head
        right = head.logits(z).argmax(axis=1) == y
        return np.array(
            [-x @ z[right & (y == (head.weight @ x + head.bias).argmax())].mean(axis=0)
             for x in example.asked]
        )  # fmt: skip
