"""The scenario that sums the features of the train role once, for all detectors that need sums."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from crucibench.contracts.capability import Capability
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import Derived, Need
from crucibench_suites.ood.detector import Answers, Floats, Ints, Moments
from crucibench_suites.ood.reading import TrainPass

_ALL, _RIGHT, _SCATTER = "class", "class, predicted rightly", "scatter"


@dataclass(frozen=True, kw_only=True)
class TrainMoments(Derived):
    """Class means and scatter of the features of the train role, in one pass."""

    suite: str = "ood"
    name: str = "moments"
    role: str = "train"
    needs: tuple[Need, ...] = (
        Need(alias="train", cell="pass/train", outputs=frozenset({"scores", "features"})),
    )

    version: ClassVar[int] = 1
    requires: ClassVar[frozenset[Capability]] = frozenset({Capability.SCORES, Capability.FEATURES})

    def derive(self, evidence: Evidence) -> Columns:
        """Returns a row for each class, and one for each row of the scatter matrix."""
        train = TrainPass(evidence.needs["train"], ("scores", "features"))
        found = moments_of(train.blocks(), len(evidence.task.classes))
        classes, size = found.means.shape
        return {
            "id": [f"{kind} {row}" for kind, rows in
                   ((_ALL, classes), (_RIGHT, classes), (_SCATTER, size)) for row in range(rows)],
            "point": [_ALL] * classes + [_RIGHT] * classes + [_SCATTER] * size,
            "count": np.concatenate([found.count, found.right_count, np.full(size, found.n)]),
            "vector": np.concatenate([found.means, found.right_means, found.scatter]),
        }  # fmt: skip


def read_moments(cell: CellEvidence) -> Moments:
    """Returns the sums that the scenario recorded."""
    parts = {kind: cell.records.at(kind) for kind in (_ALL, _RIGHT, _SCATTER)}
    return Moments(
        count=parts[_ALL].array("count"), means=parts[_ALL].array("vector"),
        right_count=parts[_RIGHT].array("count"), right_means=parts[_RIGHT].array("vector"),
        scatter=parts[_SCATTER].array("vector"),
    )  # fmt: skip


def moments_of(blocks: Iterable[tuple[Answers, Ints]], classes: int) -> Moments:
    """Sums up features block by block, in O(block) memory.

    Features are summed less the mean of the first block, so that a mean that is large against the
    spread costs no digits.

    Raises:
        ValueError: if there is no sample.
    """
    sums: _Sums | None = None
    for answers, targets in blocks:
        if sums is None and len(targets):
            sums = _Sums(answers.known_features.mean(axis=0), classes)
        if sums is not None:
            sums.add(answers, targets)
    if sums is None:
        raise ValueError("the train role has no sample")
    return sums.moments()


class _Sums:
    def __init__(self, shift: Floats, classes: int) -> None:
        size = len(shift)
        self._shift = shift
        self._count = np.zeros(classes, dtype=np.int64)
        self._right_count = np.zeros(classes, dtype=np.int64)
        self._totals = np.zeros((classes, size))
        self._right_totals = np.zeros((classes, size))
        self._squares = np.zeros((size, size))

    def add(self, answers: Answers, targets: Ints) -> None:
        moved = answers.known_features - self._shift
        self._squares += moved.T @ moved
        _add_by_class(moved, targets, self._count, self._totals)
        right = np.flatnonzero(answers.predictions == targets)
        _add_by_class(moved[right], targets[right], self._right_count, self._right_totals)

    def moments(self) -> Moments:
        total = self._totals.sum(axis=0)
        return Moments(
            count=self._count,
            means=self._means(self._totals, self._count),
            right_count=self._right_count,
            right_means=self._means(self._right_totals, self._right_count),
            scatter=self._squares - np.outer(total, total) / self._count.sum(),
        )

    def _means(self, totals: Floats, count: Ints) -> Floats:
        means = totals / np.maximum(count, 1)[:, None] + self._shift
        means[count == 0] = 0.0
        return np.asarray(means)


def _add_by_class(moved: Floats, targets: Ints, count: Ints, totals: Floats) -> None:
    order = np.argsort(targets, kind="stable")
    present, starts, sizes = np.unique(targets[order], return_index=True, return_counts=True)
    if len(present):
        count[present] += sizes
        totals[present] += np.add.reduceat(moved[order], starts, axis=0)
