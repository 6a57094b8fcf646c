"""KNN: the distance to the k-th nearest train sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    DetectorExample,
    Floats,
    Material,
    Score,
    Train,
    UnfitError,
)

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
                    near = np.partition(near, len(part) - count, axis=1)[:, -count:]
                both = np.concatenate([best[rows], near], axis=1)
                best[rows] = np.partition(both, both.shape[1] - count, axis=1)[:, -count:]
        best.sort(axis=1)
        return np.asarray(best[:, ::-1], dtype=np.float32)


def _unit(features: Floats) -> NDArray[np.float32]:
    length = np.sqrt(np.einsum("nd,nd->n", features, features))[:, None]
    return np.asarray(features / np.maximum(length, _NORM), dtype=np.float32)
