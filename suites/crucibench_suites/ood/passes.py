"""Passes as detectors read them, in blocks, and the sums of features that detectors share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import Answers, Detector, Ints, Moments, Train, UnfitError
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.scenario import Derived, Need
from crucibench.util.draws import order_key


def columns_of(detector: Detector) -> tuple[str, ...]:
    """Returns the columns of a pass that a detector reads."""
    return ("scores", "features") if Capability.FEATURES in detector.requires else ("scores",)


def answers_of(
    cell: CellEvidence, columns: Sequence[str]
) -> Iterator[tuple[NDArray[np.object_], Answers]]:
    """Yields sample ids and answers of a pass, a block at a time."""
    for block in cell.records.blocks("id", *columns):
        yield block.ids, _answers(cell, block, columns)


def _answers(cell: CellEvidence, block: Records, columns: Sequence[str]) -> Answers:
    features = block.array("features").astype(np.float64) if "features" in columns else None
    return Answers(raw=block.array("scores"), kind=cell.model.score_kind, features=features)


def picked(
    cell: CellEvidence, columns: Sequence[str], ids: NDArray[np.object_]
) -> tuple[Answers, Ints]:
    """Returns answers and class indices of some samples of a pass.

    Raises:
        UnfitError: if there is none.
    """
    wanted = pd.Index(ids, dtype=object)
    parts = []
    names = []
    for found, answers in answers_of(cell, columns):
        rows = np.flatnonzero(pd.Index(found, dtype=object).isin(wanted))
        parts.append(answers.take(rows))
        names.append(found[rows])
    if not sum(len(part) for part in parts):
        raise UnfitError("no sample of the test role is kept apart: kept_apart must be above 0")
    places = pd.Index(cell.samples.ids, dtype=object).get_indexer(
        pd.Index(np.concatenate(names), dtype=object)
    )
    return _joined(parts), cell.samples.targets[places].astype(np.int64)


def in_rows(cell: CellEvidence, ids: NDArray[np.object_], name: str) -> NDArray[Any]:
    """Returns a column of a cell's records at some ids, in their order."""
    places = pd.Index(cell.records.ids, dtype=object).get_indexer(pd.Index(ids, dtype=object))
    return np.asarray(cell.records.array(name)[places])


class TrainPass(Train):
    """The pass over the train role."""

    def __init__(self, cell: CellEvidence, columns: Sequence[str]) -> None:
        """Takes the cell and the columns that are read of it."""
        self._cell = cell
        self._columns = tuple(columns)
        self._targets: Ints | None = None

    def __len__(self) -> int:
        return len(self._cell.samples)

    def blocks(self) -> Iterator[tuple[Answers, Ints]]:
        """Yields answers and class indices."""
        targets, at = self._in_order(), 0
        for ids, answers in answers_of(self._cell, self._columns):
            yield answers, targets[at : at + len(ids)]
            at += len(ids)

    def sample(self, count: int) -> tuple[Answers, Ints]:
        """Returns at most `count` samples, those of smallest hash."""
        keep = np.ones(len(self), dtype=np.bool_)
        if len(self) > count:
            ids = self._cell.records.ids
            keys = np.array([order_key(0, identity) for identity in ids], dtype=np.uint64)
            keep = keys <= np.partition(keys, count - 1)[count - 1]
        parts: list[tuple[Answers, Ints]] = []
        at = 0
        for answers, targets in self.blocks():
            rows = np.flatnonzero(keep[at : at + len(targets)])
            parts.append((answers.take(rows), targets[rows]))
            at += len(targets)
        if not parts:
            raise ValueError("the train role has no sample")
        return _joined([answers for answers, _ in parts]), np.concatenate([y for _, y in parts])

    def _in_order(self) -> Ints:
        """Returns the targets in the order of the records."""
        if self._targets is None:
            ids, samples = self._cell.records.ids, self._cell.samples
            targets = samples.targets.astype(np.int64)
            if not np.array_equal(ids, samples.ids):
                targets = targets[
                    pd.Index(samples.ids, dtype=object).get_indexer(pd.Index(ids, dtype=object))
                ]
            self._targets = targets
        return self._targets


def _joined(parts: Sequence[Answers]) -> Answers:
    features = None
    if parts[0].features is not None:
        features = np.concatenate([part.known_features for part in parts])
    return Answers(
        raw=np.concatenate([part.raw for part in parts]), kind=parts[0].kind, features=features
    )


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
        found = Moments.of(train.blocks(), len(evidence.task.classes))
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
