"""Accuracy against coverage where half of the inputs are out-of-distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench_suites.ood.detector import Floats, Ints


@dataclass(frozen=True)
class Sorted:
    """Scores in rising order, with the units that they are of."""

    scores: Floats
    units: Ints

    @classmethod
    def of(cls, scores: Floats, units: Ints) -> Sorted:
        """Sorts scores."""
        order = np.argsort(scores, kind="stable")
        return cls(scores[order], units[order])

    def share_upto(self, thresholds: Floats, weights: Floats) -> Floats:
        """Returns the share of weights at scores up to one threshold a row, shape (B,)."""
        upto = np.cumsum(weights[:, self.units], axis=1)
        places = np.searchsorted(self.scores, thresholds, side="right")
        row = np.arange(len(weights))
        found = np.where(places > 0, upto[row, np.maximum(places, 1) - 1], 0.0)
        return np.asarray(found / upto[:, -1])


class Mixture:
    """Familiar samples and OOD sets, each half of all inputs, the sets alike."""

    def __init__(
        self,
        known: Floats,
        right: NDArray[np.bool_],
        units: Ints,
        sets: Sequence[tuple[Floats, Ints]],
    ) -> None:
        """Takes scores, higher meaning less familiar.

        Args:
            known: of familiar samples, shape (n,).
            right: whether their predictions are, shape (n,).
            units: their units, shape (n,).
            sets: scores and units of each OOD set.
        """
        order = np.argsort(known, kind="stable")
        self._right = right[order].astype(np.float64)
        self._known = Sorted(known[order], units[order])
        self._sets = [Sorted.of(*entry) for entry in sets]
        ends = np.flatnonzero(np.append(self._known.scores[1:] != self._known.scores[:-1], True))
        self._ends = ends

    def accuracy_at(self, coverage: float, weights: Floats) -> Floats:
        """Returns the accuracy of what is taken for familiar, shape (B,).

        The threshold is the lowest at which at least `coverage` of the familiar samples are; tied
        samples go together.

        Args:
            coverage: in (0, 1].
            weights: how often each unit counts, shape (B, units).
        """
        own = weights[:, self._known.units]
        upto = np.cumsum(own, axis=1)[:, self._ends]
        hits = np.cumsum(own * self._right, axis=1)[:, self._ends]
        total = upto[:, -1]
        at = (upto >= coverage * total[:, None] * (1 - 1e-12)).argmax(axis=1)
        row = np.arange(len(weights))
        thresholds = self._known.scores[self._ends[at]]
        let_in = np.mean([one.share_upto(thresholds, weights) for one in self._sets], axis=0)
        return np.asarray(hits[row, at] / total / (upto[row, at] / total + let_in))

    def curve(self, points: int) -> tuple[Floats, Floats]:
        """Returns coverage of all inputs and accuracy, at some shares of the familiar samples."""
        count = 1 + max(int(entry.units.max(initial=0)) for entry in (self._known, *self._sets))
        ones = np.ones((1, count))
        shares = np.linspace(1.0 / points, 1.0, points)
        accuracy = np.array([self.accuracy_at(share, ones)[0] for share in shares])
        kept = self._ends[np.searchsorted(self._ends + 1, shares * len(self._right) - 1e-9)]
        thresholds = self._known.scores[kept]
        let_in = np.mean(
            [np.searchsorted(one.scores, thresholds, side="right") / len(one.scores)
             for one in self._sets], axis=0,
        )  # fmt: skip
        return np.asarray(0.5 * ((kept + 1) / len(self._right) + let_in)), accuracy
