"""One detector over passes: fit it, choose its setting, score every set, and say how well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crucibench.contracts.capability import Capability
from crucibench.contracts.detector import (
    Answers,
    Detector,
    Floats,
    Ints,
    Material,
    Moments,
    Score,
    Train,
    UnfitError,
)
from crucibench.contracts.evidence import CellEvidence, Evidence
from crucibench.contracts.metric import MetricInfo
from crucibench.contracts.records import Columns, Records
from crucibench.contracts.scenario import Derived, Need
from crucibench.contracts.statistic import Number
from crucibench.stats import auc
from crucibench.util.draws import order_key
from crucibench_suites.ood import metrics
from crucibench_suites.ood.asking import read_head
from crucibench_suites.ood.detectors import detector
from crucibench_suites.ood.scores import numbers_of
from crucibench_suites.ood.sets import (
    KNOWN,
    UNFIT,
    OODSet,
    kept_apart,
    mark_perturbing,
    meanings,
    points_of,
    scored,
)

Ids = NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Detection(Derived):
    """One detector over all sets, computed from passes: without the model.

    Attributes:
        sets: the OOD sets, those for validation among them.
        share: of the test role that is kept apart for validation.
    """

    suite: str = "ood"
    sets: tuple[OODSet, ...] = ()
    share: float = 0.0

    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[MetricInfo, ...]] = metrics.OF_DETECTOR
    audits: ClassVar[tuple[str, ...]] = ("detector-scores",)

    @classmethod
    def of(cls, name: str, sets: tuple[OODSet, ...], share: float) -> Detection:
        """Returns the scenario of the detector of that name."""
        entry = detector(name)
        with_features = Capability.FEATURES in entry.requires
        outputs = frozenset({"scores", "features"} if with_features else {"scores"})
        needs = [
            Need(alias="test", cell="pass/test", outputs=outputs),
            Need(alias="sets", cell="ood/sets"),
        ]
        if entry.asks:
            needs.append(Need(alias="asked", cell=f"ood/asked/{name}/test"))
        for one in sets:
            plain = frozenset() if one.generated or entry.asks else outputs
            cell = f"ood/asked/{name}/{one.address}" if entry.asks else one.cell
            needs.append(Need(alias=one.address, cell=cell, outputs=plain))
        if "train" in entry.uses:
            needs.append(Need(alias="train", cell="pass/train", outputs=outputs))
        needs += [
            Need(alias=part, cell=f"ood/{part}")
            for part in ("moments", "head")
            if part in entry.uses
        ]
        parameters = {
            "detector": name, "version": entry.version, "definition": entry.definition,
            "setting": entry.setting, "values": list(entry.values), "default": entry.default,
            "sets": meanings(sets), "kept_apart": share,
        }  # fmt: skip
        return cls(
            name=name, sets=sets, share=share, needs=tuple(needs), points=points_of(sets),
            parameters=parameters,
        )  # fmt: skip

    def __post_init__(self) -> None:
        # What a model must give depends on the detector; elsewhere it belongs to the class.
        object.__setattr__(self, "requires", detector(self.name).requires)
        mark_perturbing(self, self.sets)

    def derive(self, evidence: Evidence) -> Columns:
        """Returns a row for every scored sample: id, set, score, and the setting's value.

        A detector that can't be fitted has one row, at the point ``UNFIT``, with the reason.

        Raises:
            ValueError: if the detector gives scores that are no numbers.
        """
        entry = detector(self.name)
        reader = _Reader(entry, evidence)
        test = evidence.needs["test"].samples
        mask = kept_apart(test, self.share)
        apart = set(test.ids[mask].tolist())
        try:
            score = entry.fitted(reader.material(test.ids[mask]))
        except UnfitError as error:
            reason = f"it can't be fitted: {error}"
            return {"id": [UNFIT], "point": UNFIT, "score": np.array([np.nan]),
                    "value": np.array([np.nan]), "reason": [reason]}  # fmt: skip
        values = _values(entry, self.sets) if apart else (entry.default,)
        # Those kept apart have scores only where these choose something.
        ids, known = reader.scores(
            "test", score, values, apart if len(values) == 1 else frozenset()
        )
        keep = np.array([identity not in apart for identity in ids], dtype=np.bool_)
        value = _chosen(values, self.sets, reader, score, known[~keep])
        parts: list[tuple[str, Ids, Floats]] = [
            (KNOWN, ids[keep], known[keep, values.index(value)])
        ]
        for one in scored(self.sets):
            ids, found = reader.scores(one.address, score, (value,))
            parts.append((one.address, ids, found[:, 0]))
        lengths = [len(ids) for _, ids, _ in parts]
        return {
            "id": np.concatenate([ids for _, ids, _ in parts]),
            "point": np.repeat(np.array([name for name, _, _ in parts], dtype=object), lengths),
            "score": np.concatenate([values for _, _, values in parts]),
            "value": np.full(sum(lengths), value if entry.setting else np.nan),
        }

    def numbers(self, evidence: Evidence) -> Sequence[Number]:
        """Returns every number at each point."""
        return numbers_of(evidence, evidence.own, self.points, self.metrics)


def _values(entry: Detector, sets: Sequence[OODSet]) -> tuple[float, ...]:
    """Returns the values to choose from, the default first; that alone where nothing chooses."""
    if any(one.kind == "validation" for one in sets):
        return tuple(dict.fromkeys((entry.default, *entry.values)))
    return (entry.default,)


def _chosen(
    values: Sequence[float], sets: Sequence[OODSet], reader: _Reader, score: Score, known: Floats
) -> float:
    """Returns the value of highest mean AUROC over the validation sets, the first among equals.

    Args:
        values: those to choose from.
        sets: the OOD sets.
        reader: of the detector.
        score: what it scores by.
        known: scores of the familiar samples that are kept apart, (n, len(values)).
    """
    if len(values) == 1:
        return values[0]
    means = np.zeros(len(values))
    for one in sets:
        if one.kind == "validation":
            _, strange = reader.scores(one.address, score, values)
            if not len(strange):
                return values[0]
            means += [auc(strange[:, k], known[:, k]) for k in range(len(values))]
    return values[int(np.argmax(means))]


class _Reader:
    """Gives a detector what it reads of the evidence."""

    def __init__(self, entry: Detector, evidence: Evidence) -> None:
        self._entry = entry
        self._evidence = evidence
        self._columns = columns_of(entry)

    def material(self, apart: Ids) -> Material:
        """Returns what the detector is fitted on; `apart` names the samples kept apart."""
        needs, uses = self._evidence.needs, self._entry.uses
        return Material(
            classes=len(self._evidence.task.classes),
            train=TrainPass(needs["train"], self._columns) if "train" in uses else None,
            moments=read_moments(needs["moments"]) if "moments" in uses else None,
            head=read_head(needs["head"]) if "head" in uses else None,
            kept=picked(needs["test"], self._columns, apart) if "kept" in uses else None,
        )

    def scores(
        self, alias: str, score: Score, values: Sequence[float], but: Set[str] = frozenset()
    ) -> tuple[Ids, Floats]:
        """Returns ids and scores of a cell's samples, (n,) and (n, len(values)).

        Args:
            alias: the cell's.
            score: what the detector scores by.
            values: of its setting.
            but: ids of samples that are left out.
        """
        ids: list[Any] = []
        found: list[Floats] = []
        for every, whole in self._answers(alias):
            names, answers = every, whole
            if but:
                rows = np.flatnonzero([name not in but for name in every])
                if not len(rows):
                    continue
                names, answers = every[rows], whole.take(rows)
            part = score(answers, values)
            ids.append(names)
            found.append(part)
        if not ids:
            return np.array([], dtype=object), np.zeros((0, len(values)))
        return np.concatenate(ids), np.concatenate(found)

    def _answers(self, alias: str) -> Iterator[tuple[Ids, Answers]]:
        needs, columns = self._evidence.needs, self._columns
        if not self._entry.asks:
            yield from answers_of(needs[alias], columns)
            return
        for block in needs["asked" if alias == "test" else alias].records.blocks("id", "asked"):
            asked = block.array("asked")
            yield block.ids, Answers(raw=asked, kind="probabilities", asked=asked)


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
